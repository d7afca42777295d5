import { globSync } from 'node:fs';
import { join } from 'node:path';
import { cargoTarget, root } from '../cache.ts';
import { vetBinaries } from '../cluster/binaries.ts';
import { run } from '../process.ts';
import { main, step } from '../steps.ts';
import { checkLicences } from './licences.ts';
import { checkCircles } from './rust-circles.ts';

const bin = (name: string) => join(root, 'node_modules/.bin', name);
const dataplane = join(root, 'dataplane');

const checks: readonly (readonly [title: string, check: () => Promise<unknown>])[] = [
  ['Format and lint (Biome)', () => run(bin('biome'), ['ci', '--error-on-warnings', '.'], { cwd: root })],
  ['Types (tsc)', () => run(bin('tsc'), ['-p', '.'], { cwd: root })],
  [
    'Layers (dependency-cruiser)',
    () => run(bin('depcruise'), ['src', 'hack', '--config', '.dependency-cruiser.cjs'], { cwd: root }),
  ],
  ['Generated files', () => run(bin('node'), ['hack/generate/main.ts', '--check'], { cwd: root })],
  [
    'Shell scripts (shellcheck)',
    () => run('shellcheck', globSync(['hack/**/*.sh', 'bin/*', '.ci/run'], { cwd: root }), { cwd: root }),
  ],
  ['Go format and vet', verifyGo],
  ['Rust format (rustfmt)', () => run('cargo', ['fmt', '--check'], { cwd: dataplane })],
  [
    'Rust lint (clippy)',
    () =>
      run('cargo', ['clippy', '--locked', '--workspace', '--all-targets', '--', '-D', 'warnings'], {
        cwd: dataplane,
        env: { CARGO_TARGET_DIR: cargoTarget },
      }),
  ],
  ['Layers of the Rust crates', checkCircles],
  ['Licences', checkLicences],
];

/** `make verify`: every check, all of them even when one fails. */
await main(async () => {
  const failed: string[] = [];
  for (const [title, check] of checks) {
    await step(title, check).catch((err: unknown) => {
      failed.push(title);
      console.error(err instanceof Error ? err.message : err);
    });
  }
  if (failed.length > 0) throw new Error(`not clean: ${failed.join(', ')}`);
});

async function verifyGo(): Promise<void> {
  const files = globSync(['hack/**/*.go', 'test/**/*.go'], { cwd: root });
  const unformatted = await run('gofmt', ['-l', ...files], { cwd: root });
  if (unformatted !== '') throw new Error(`gofmt would change:\n${unformatted}`);
  await vetBinaries();
}
