import { execFile } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';
import type { GeneratedFile } from './generated-file.ts';

const run = promisify(execFile);
/** Where `buf.gen.yaml` puts its output. */
export const protoOutput = 'proto/gen';

/** What buf generates from `proto/` by `buf.gen.yaml`, as files; nothing in the tree is touched. */
export async function protoFiles(root: string): Promise<readonly GeneratedFile[]> {
  const bin = join(root, 'node_modules/.bin');
  const output = await mkdtemp(join(tmpdir(), 'tulle-generate-'));
  try {
    // buf finds protoc-gen-es on the PATH.
    const env = { ...process.env, PATH: `${bin}${delimiter}${process.env.PATH ?? ''}` };
    await run(join(bin, 'buf'), ['generate', '--output', output], { cwd: root, env });
    const paths = await filesBelow(output, protoOutput);
    return await Promise.all(
      paths.map(async (path) => ({ path, content: await readFile(join(output, path), 'utf8') })),
    );
  } finally {
    await rm(output, { recursive: true, force: true });
  }
}

/** Paths, relative to `root`, of all files below `folder`, sorted; none when the folder does not exist. */
export async function filesBelow(root: string, folder: string): Promise<readonly string[]> {
  try {
    const entries = await readdir(join(root, folder), { recursive: true, withFileTypes: true });
    return entries
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name).slice(root.length + 1))
      .sort();
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return [];
    throw error;
  }
}
