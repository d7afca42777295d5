import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';

/** A file that is generated: path below the repository's root, and the text it must have. */
export interface GeneratedFile {
  readonly path: string;
  readonly content: string;
}

/** The paths of files below `root` that are missing or differ from what the sources give. */
export async function staleFiles(root: string, files: readonly GeneratedFile[]): Promise<readonly string[]> {
  const stale: string[] = [];
  for (const file of files) {
    if ((await readIfThere(join(root, file.path))) !== file.content) stale.push(file.path);
  }
  return stale;
}

/** Writes the files that differ, and only those, so that a build sees no change where there is none. */
export async function writeFiles(root: string, files: readonly GeneratedFile[]): Promise<void> {
  for (const path of await staleFiles(root, files)) {
    const file = files.find((candidate) => candidate.path === path);
    if (file === undefined) continue;
    await mkdir(dirname(join(root, path)), { recursive: true });
    await writeFile(join(root, path), file.content);
  }
}

async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw error;
  }
}
