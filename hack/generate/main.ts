/**
 * `make generate`: writes everything that is generated from sources: crds/ from the zod schemas in src/api/,
 * proto/gen/ from proto/, what the data plane spells too from src/api/, and the list of promises in docs/security.md from
 * the titles of tests. With `--check` nothing is written; files that are out of date are named and it exits 1.
 */
import { rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { explain, TulleError } from '../../src/errors/tulle-error.ts';
import { crdFiles } from './crds.ts';
import { type GeneratedFile, staleFiles, writeFiles } from './generated-file.ts';
import { filesBelow, protoFiles, protoOutput } from './proto.ts';
import { rustMeshNode } from './rust-mesh-node.ts';
import { rustNames } from './rust-names.ts';
import { securityPage } from './security-page.ts';

const root = resolve(import.meta.dirname, '../..');

try {
  const files: readonly GeneratedFile[] = [
    ...crdFiles(),
    ...(await protoFiles(root)),
    rustNames(),
    rustMeshNode(),
    securityPage(root),
  ];
  const orphans = await orphaned(files);
  if (process.argv.includes('--check')) {
    check([...(await staleFiles(root, files)), ...orphans]);
  } else {
    await writeFiles(root, files);
    for (const path of orphans) await rm(join(root, path));
    console.log(`generated ${files.length} files`);
  }
} catch (error) {
  console.error(explain(error));
  process.exitCode = 1;
}

/** @throws TulleError GeneratedFilesStale naming the files, when there are any */
function check(stale: readonly string[]): void {
  if (stale.length === 0) return;
  throw new TulleError('GeneratedFilesStale', `out of date: ${stale.join(', ')}.`, {
    fix: 'Run make generate and commit what it writes.',
  });
}

/** Files in the output folders that nothing generates any more. */
async function orphaned(current: readonly GeneratedFile[]): Promise<readonly string[]> {
  const expected = new Set(current.map((file) => file.path));
  const present = [...(await filesBelow(root, 'crds')), ...(await filesBelow(root, protoOutput))];
  return present.filter((path) => !expected.has(path));
}
