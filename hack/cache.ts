import { createHash, randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';

/** Where slow results are kept between runs and checkouts. */
export const cacheFolder =
  process.env.TULLE_CACHE ?? join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'tulle');

/** The root of this checkout. */
export const root = join(import.meta.dirname, '..');

/** Where cargo builds for images and tests: dependencies are compiled once for all checkouts. */
export const cargoTarget = join(cacheFolder, 'cargo-target');

/** A short name for exactly these contents. */
export function fingerprint(...parts: readonly (string | Buffer)[]): string {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(`${part.length}:`).update(part);
  return hash.digest('hex').slice(0, 16);
}

/** A short name for the contents of these files. */
export function fingerprintFiles(paths: readonly string[], ...more: readonly string[]): string {
  return fingerprint(...paths.map((path) => readFileSync(path)), ...more);
}

/**
 * The folder `<cache>/<kind>/<key>`, made by `make` in a folder beside it and moved into place when
 * complete, so that an interrupted or parallel run never leaves half of it.
 */
export async function cached(kind: string, key: string, make: (folder: string) => Promise<void>): Promise<string> {
  const folder = join(cacheFolder, kind, key);
  if (existsSync(folder)) return folder;
  dropOld(kind, key);
  const draft = `${folder}.${randomBytes(4).toString('hex')}`;
  mkdirSync(draft, { recursive: true });
  try {
    await make(draft);
    try {
      renameSync(draft, folder);
    } catch (err) {
      if (!existsSync(folder)) throw err; // else another run was quicker, with the same contents
    }
  } finally {
    rmSync(draft, { recursive: true, force: true });
  }
  return folder;
}

/** How many versions of one thing the cache keeps: other checkouts and branches want theirs. */
const keptVersions = 4;

/** Drops the oldest versions of what `key` (`<name>-<fingerprint>`) is a new version of. */
function dropOld(kind: string, key: string): void {
  const parent = join(cacheFolder, kind);
  const name = key.slice(0, key.lastIndexOf('-') + 1);
  if (name === '' || !existsSync(parent)) return;
  readdirSync(parent)
    .filter((entry) => entry.startsWith(name) && !entry.slice(name.length).includes('-'))
    .map((entry) => join(parent, entry))
    .sort((a, b) => statSync(b).mtimeMs - statSync(a).mtimeMs)
    .slice(keptVersions)
    .forEach((path) => {
      rmSync(path, { recursive: true, force: true });
    });
}
