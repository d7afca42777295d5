import { cpSync, globSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { build } from 'esbuild';
import { cached, cargoTarget, fingerprint, root } from '../cache.ts';
import { buildBinaries } from '../cluster/binaries.ts';
import { run } from '../process.ts';
import type { Report } from '../steps.ts';
import { buildWithEngine } from './engine.ts';

export const version: string = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')).version;

export interface Image {
  readonly tag: string;
  /** Archive of the image. */
  readonly archive: string;
  readonly bytes: number;
}

interface ImageSource {
  readonly tag: string;
  readonly dockerfile: string;
  readonly basePackages?: readonly string[];
  /** Puts what the Dockerfile copies into the folder. */
  readonly prepare: (context: string, report: Report) => Promise<void>;
}

const nodePackages = ['ca-certificates', 'iproute2', 'nftables'];

const sources: Readonly<Record<string, ImageSource>> = {
  pause: {
    tag: 'tulle.dev/pause:1',
    dockerfile: 'hack/images/pause/Dockerfile',
    prepare: (context) => goProgram('hack/images/pause', join(context, 'pause')),
  },
  coredns: {
    tag: 'tulle.dev/coredns:1.12.4',
    dockerfile: 'hack/images/coredns/Dockerfile',
    prepare: async (context, report) => {
      const program = await buildBinaries(report);
      cpSync(program('coredns'), join(context, 'coredns'), { dereference: true });
    },
  },
  tulle: {
    tag: `tulle.dev/tulle:${version}`,
    dockerfile: 'hack/images/tulle/Dockerfile',
    basePackages: nodePackages,
    prepare: async (context) => {
      await bundle(
        ['operator', 'control', 'tulle'].map((name) => join(root, `src/cmd/${name}.ts`)),
        join(context, 'app'),
      );
      cpSync(nodeBinary(), join(context, 'node'));
    },
  },
  'tulle-node': {
    tag: `tulle.dev/tulle-node:${version}`,
    dockerfile: 'hack/images/tulle-node/Dockerfile',
    basePackages: nodePackages,
    prepare: async (context, report) => {
      const programs = await buildDataplane(report);
      for (const program of programs) cpSync(program, join(context, basename(program)));
    },
  },
  'sample-shop': {
    tag: `tulle.dev/sample-shop:${version}`,
    dockerfile: 'config/samples/shop/Dockerfile',
    basePackages: nodePackages,
    prepare: async (context) => {
      await bundle([join(root, 'config/samples/shop/app/main.ts')], join(context, 'app'));
      cpSync(nodeBinary(), join(context, 'node'));
    },
  },
  attack: {
    tag: `tulle.dev/attack:${version}`,
    dockerfile: 'test/attack/tool/Dockerfile',
    prepare: (context) => goProgram('test/attack/tool', join(context, 'attack')),
  },
  'sample-redis': {
    tag: `tulle.dev/sample-redis:${version}`,
    dockerfile: 'config/samples/shop/redis.Dockerfile',
    basePackages: ['redis-server'],
    prepare: async () => {},
  },
};

/** Every image of the project, and those of the test cluster, the tests and the samples. */
export const imageNames = Object.keys(sources);

/**
 * Builds images, each kept in the cache by everything that went into it. What they are made of is prepared side by
 * side, since programs take minutes to compile; the images themselves are built one after the other.
 */
export async function buildImages(names: readonly string[], report: Report = () => {}): Promise<Image[]> {
  let before: Promise<unknown> = Promise.resolve();
  const builds = names.map((name) =>
    inContext(name, async (source, context) => {
      report(`preparing ${name}`);
      await source.prepare(context, report);
      const build = before.then(() => buildPrepared(name, source, context, report));
      before = build.catch(() => {});
      return build;
    }),
  );
  const outcomes = await Promise.allSettled(builds);
  return outcomes.map((outcome) => {
    if (outcome.status === 'rejected') throw outcome.reason;
    return outcome.value;
  });
}

/** Calls `build` with a folder for what the image is made of, which goes afterwards. */
async function inContext<T>(name: string, build: (source: ImageSource, context: string) => Promise<T>): Promise<T> {
  const source = sources[name];
  if (source === undefined) throw new Error(`no image is called ${name}; there are ${imageNames.join(', ')}`);
  const context = mkdtempSync(join(tmpdir(), 'tulle-image-'));
  const remove = () => rmSync(context, { recursive: true, force: true });
  process.once('exit', remove); // an interrupt ends the process at once
  try {
    return await build(source, context);
  } finally {
    process.off('exit', remove);
    remove();
  }
}

async function buildPrepared(name: string, source: ImageSource, context: string, report: Report): Promise<Image> {
  const dockerfile = join(root, source.dockerfile);
  const inputs = [source.tag, readFileSync(dockerfile), ...(source.basePackages ?? []), ...contents(context)];
  const folder = await cached('images', `${name}-${fingerprint(...inputs)}`, async (draft) => {
    await buildWithEngine(
      {
        tag: source.tag,
        context,
        dockerfile,
        archive: join(draft, 'image.tar'),
        ...(source.basePackages === undefined ? {} : { basePackages: source.basePackages }),
      },
      report,
    );
  });
  const archive = join(folder, 'image.tar');
  return { tag: source.tag, archive, bytes: statSync(archive).size };
}

/** Names and contents of all files below the folder, in a fixed order. */
function contents(folder: string): (string | Buffer)[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .sort()
    .flatMap((path) => [path.slice(folder.length), readFileSync(path)]);
}

/** Bundles entry points with all they import, for Node 24. */
export async function bundle(entryPoints: string[], outdir: string): Promise<void> {
  await build({
    entryPoints,
    outdir,
    bundle: true,
    platform: 'node',
    target: 'node24',
    format: 'esm',
    sourcemap: 'linked',
    sourcesContent: false,
    logLevel: 'warning',
    // CommonJS dependencies expect these in scope.
    banner: {
      js: "import { createRequire as __createRequire } from 'node:module'; const require = __createRequire(import.meta.url);",
    },
  });
}

function nodeBinary(): string {
  return join(root, `node_modules/node-linux-${process.arch}/bin/node`);
}

/** Builds the program whose files are in a folder of this checkout. */
async function goProgram(folder: string, out: string): Promise<void> {
  mkdirSync(join(out, '..'), { recursive: true });
  const files = globSync(`${folder}/*.go`, { cwd: root }).sort();
  await run('go', ['build', '-buildvcs=false', '-trimpath', '-ldflags=-s -w', '-o', out, ...files], {
    cwd: root,
    env: { CGO_ENABLED: '0' },
  });
}

/** Builds the node's programs, kept by their sources, and returns their paths. */
async function buildDataplane(report: Report): Promise<string[]> {
  // The plugin runs on the node itself, whatever C library that has: it brings its own.
  const target = `${process.arch === 'arm64' ? 'aarch64' : 'x86_64'}-unknown-linux-gnu`;
  const programs = ['release/tulle-agent', 'release/tulle-proxy', `${target}/release/tulle-cni`];
  const key = `node-${fingerprint(...dataplaneSources(), process.arch, await run('rustc', ['--version']))}`;
  const folder = await cached('programs', key, async (draft) => {
    const cargo = (args: readonly string[], env: Readonly<Record<string, string>> = {}) =>
      run('cargo', ['build', '--release', '--locked', ...args], {
        cwd: join(root, 'dataplane'),
        env: { CARGO_TARGET_DIR: cargoTarget, ...env },
        onLine: (line) => report(line.trim()),
      });
    await cargo(['--bins', '--workspace', '--exclude', 'tulle-cni']);
    await cargo(['-p', 'tulle-cni', '--target', target], { RUSTFLAGS: '-C target-feature=+crt-static' });
    for (const program of programs) cpSync(join(cargoTarget, program), join(draft, basename(program)));
  });
  return programs.map((program) => join(folder, basename(program)));
}

/** Names and contents of what the node's programs are compiled from. */
function dataplaneSources(): (string | Buffer)[] {
  const patterns = ['dataplane/**/*.{rs,toml,lock}', 'proto/**/*.proto'];
  return globSync(patterns, { cwd: root, exclude: ['dataplane/target', 'dataplane/*/tests'] })
    .sort()
    .flatMap((path) => [path, readFileSync(join(root, path))]);
}
