import { spawn } from 'node:child_process';
import { existsSync, globSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { cargoTarget, root } from '../cache.ts';
import { preflight } from '../setup/preflight.ts';

interface Totals {
  passed: number;
  failed: number;
  skipped: number;
}

interface Suite {
  readonly name: string;
  /** Runs the tests whose titles match, or all; throws when the suite could not run at all. */
  readonly run: (only: string | undefined) => Promise<Totals>;
}

/** Quick ones first: a mistake shows in seconds, not after a cluster has been started. */
const suites: readonly Suite[] = [
  mocha('unit', ['unit'], 10_000),
  cargo('node'),
  mocha('integration', ['integration'], 120_000),
  // On one cluster; the last test of e2e takes the mesh off it.
  mocha('e2e', ['attack', 'soak', 'e2e'], 600_000),
];

/** `make test [ONLY=title pattern]`: every suite in turn, stopping after the first that fails. */
const only = process.env.ONLY === '' ? undefined : process.env.ONLY;
const total: Totals = { passed: 0, failed: 0, skipped: 0 };
let broken = false;
await preflight().catch((err: unknown) => {
  console.error(err instanceof Error ? err.message : err);
  process.exit(1);
});
for (const [index, suite] of suites.entries()) {
  const begun = Date.now();
  console.log(`\n== ${suite.name}`);
  try {
    const totals = await suite.run(only);
    total.passed += totals.passed;
    total.failed += totals.failed;
    total.skipped += totals.skipped;
    if (totals.failed > 0) broken = true;
  } catch (err) {
    console.error(err instanceof Error ? err.message : err);
    total.failed += 1;
    broken = true;
  }
  console.log(`== ${suite.name}: ${((Date.now() - begun) / 1000).toFixed(0)} s`);
  if (broken) {
    const left = suites.slice(index + 1).map(({ name }) => name);
    if (left.length > 0) console.log(`not run after this failure: ${left.join(', ')}`);
    break;
  }
}
if (only !== undefined && total.passed + total.failed + total.skipped === 0) {
  console.error(`no test's title matches ONLY=${only}`);
  broken = true;
}
console.log(`${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`);
process.exitCode = broken ? 1 : 0;

/** The tests in folders of test/, in this order. */
function mocha(name: string, folders: readonly string[], timeoutMs: number): Suite {
  return {
    name,
    run: async (only) => {
      const files = folders.flatMap((folder) => globSync(`test/${folder}/**/*.test.ts`, { cwd: root }).sort());
      if (files.length === 0) return { passed: 0, failed: 0, skipped: 0 };
      const file = join(root, 'build', `test-totals-${name}.json`);
      mkdirSync(join(root, 'build'), { recursive: true });
      rmSync(file, { force: true });
      const args = ['--reporter', join(root, 'hack/test/reporter.ts'), '--timeout', String(timeoutMs)];
      if (only !== undefined) args.push('--grep', only);
      const exit = await inherit(join(root, 'node_modules/.bin/mocha'), [...args, ...files], root, {
        TULLE_TEST_TOTALS: file,
      });
      if (!existsSync(file)) throw new Error(`mocha ended with ${exit} before it ran the ${name} tests`);
      const totals: Totals = JSON.parse(readFileSync(file, 'utf8'));
      return exit !== 0 && totals.failed === 0 ? { ...totals, failed: 1 } : totals;
    },
  };
}

/** The node's programs in Rust; a test of line R07 is called r07_… there. */
function cargo(name: string): Suite {
  return {
    name,
    run: async (only) => {
      const filter = only === undefined ? [] : [only.toLowerCase().replace(/\W+/g, '_')];
      let output = '';
      const exit = await inherit(
        'cargo',
        ['test', '--locked', '--workspace', '--no-fail-fast', ...filter],
        join(root, 'dataplane'),
        { CARGO_TARGET_DIR: cargoTarget },
        (chunk) => {
          output += chunk;
        },
      );
      const totals: Totals = { passed: 0, failed: 0, skipped: 0 };
      for (const line of output.matchAll(/^test result: \w+\. (\d+) passed; (\d+) failed; (\d+) ignored/gm)) {
        totals.passed += Number(line[1]);
        totals.failed += Number(line[2]);
        totals.skipped += Number(line[3]);
      }
      if (exit !== 0 && totals.failed === 0) throw new Error(`cargo test ended with ${exit}`);
      return totals;
    },
  };
}

/** Runs a command with this program's output; returns its exit status. */
function inherit(
  command: string,
  args: readonly string[],
  cwd: string,
  env: Readonly<Record<string, string>>,
  onOutput?: (chunk: string) => void,
): Promise<number> {
  const bin = join(root, 'node_modules/.bin');
  const child = spawn(command, args, {
    cwd,
    env: { ...process.env, PATH: `${bin}:${process.env.PATH}`, ...env },
    stdio: ['ignore', onOutput === undefined ? 'inherit' : 'pipe', 'inherit'],
  });
  child.stdout?.on('data', (chunk: Buffer) => {
    process.stdout.write(chunk);
    onOutput?.(chunk.toString());
  });
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code) => resolve(code ?? 1));
  });
}
