import { existsSync, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { cached, cacheFolder, fingerprint } from '../cache.ts';
import { hasCommand, run } from '../process.ts';
import type { Report } from '../steps.ts';

export interface BuildOptions {
  readonly tag: string;
  readonly context: string;
  readonly dockerfile: string;
  /** Debian packages the base image holds already; undefined for images that have no base. */
  readonly basePackages?: readonly string[];
  /** Where the image is written, as an archive that `ctr images import` and `docker load` read. */
  readonly archive: string;
}

/** Builds an image: with the container engine of this machine where one runs, else with buildah, which needs none. */
export async function buildWithEngine(options: BuildOptions, report: Report): Promise<void> {
  for (const engine of ['docker', 'podman']) {
    if ((await hasCommand(engine)) && (await answers(engine))) {
      report(`${options.tag} with ${engine}`);
      await run(engine, ['build', '-t', options.tag, '-f', options.dockerfile, options.context]);
      await run(engine, ['save', '-o', options.archive, options.tag]);
      return;
    }
  }
  await buildWithBuildah(options, report);
}

const answers = (engine: string) =>
  run(engine, ['info'], { timeoutMs: 10_000 }).then(
    () => true,
    () => false,
  );

const storage = ['--storage-driver=vfs', `--root=${join(cacheFolder, 'buildah/root')}`, '--runroot=/run/tulle-buildah'];
const buildah = (...args: string[]) => run('buildah', [...storage, ...args]);

async function buildWithBuildah(options: BuildOptions, report: Report): Promise<void> {
  const args = ['bud', '--isolation=chroot', '--format=docker', '-t', options.tag, '-f', options.dockerfile];
  if (options.basePackages !== undefined) args.push('--build-arg', `BASE=${await base(options.basePackages, report)}`);
  report(options.tag);
  await buildah(...args, options.context);
  await buildah('push', options.tag, `docker-archive:${options.archive}:${options.tag}`);
  // Kept would be a whole copy of the file system in the cache for every version ever built.
  await buildah('rmi', options.tag);
}

/** The name of a Debian base image with these packages, made by mmdebstrap on first use. */
async function base(packages: readonly string[], report: Report): Promise<string> {
  const key = fingerprint('bookworm', ...packages);
  const tag = `localhost/tulle-base:${key}`;
  const folder = await cached('base', key, async (draft) => {
    report(`Debian base with ${packages.join(', ')} (first run only)`);
    await run('mmdebstrap', [
      '--variant=minbase',
      `--include=${packages.join(',')}`,
      ...['doc', 'man', 'locale', 'info'].map((name) => `--dpkgopt=path-exclude=/usr/share/${name}/*`),
      '--quiet',
      'bookworm',
      join(draft, 'base.tar'),
      ...debianSources(),
    ]);
  });
  const known = await buildah('images', '-q', tag).catch(() => '');
  if (known.trim() === '') {
    const context = join(folder, 'context');
    rmSync(context, { recursive: true, force: true });
    mkdirSync(context);
    await run('ln', [join(folder, 'base.tar'), join(context, 'base.tar')]);
    const dockerfile = 'FROM scratch\nADD base.tar /\nCMD ["/bin/sh"]\n';
    await run('sh', ['-c', `cat > ${join(context, 'Dockerfile')}`], { input: dockerfile });
    await buildah('bud', '--isolation=chroot', '-t', tag, context);
  }
  return tag;
}

/** The machine's own package sources where it is a Debian of the same release; else mmdebstrap's default. */
function debianSources(): string[] {
  const file = '/etc/apt/sources.list.d/debian.sources';
  return existsSync(file) ? [file] : [];
}
