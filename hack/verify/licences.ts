import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { root } from '../cache.ts';
import { run } from '../process.ts';

/** Licences a dependency may have beside ours, Apache-2.0. */
const allowed = new Set([
  '0BSD',
  'Apache-2.0',
  'Apache-2.0 WITH LLVM-exception',
  'BlueOak-1.0.0',
  'BSD-2-Clause',
  'BSD-3-Clause',
  'CC0-1.0',
  'CDLA-Permissive-2.0',
  'ISC',
  'MIT',
  'MIT-0',
  'OpenSSL',
  'PSF-2.0',
  'Unicode-3.0',
  'Unlicense',
  'Zlib',
]);

/** Throws an error that names every dependency whose licence is not among the allowed ones. */
export async function checkLicences(): Promise<void> {
  const found = [...npmLicences(), ...(await crateLicences())];
  const refused = found.filter(({ licence }) => !permits(licence));
  if (refused.length === 0) return;
  throw new Error(`not allowed:\n${refused.map(({ name, licence }) => `  ${name}: ${licence}`).join('\n')}`);
}

/** Whether an SPDX expression (OR, AND, parentheses, the old slash) can be met with allowed licences. */
export function permits(expression: string): boolean {
  const tokens = expression.replace(/\//g, ' OR ').match(/\(|\)|\bOR\b|\bAND\b|[^\s()]+(?: WITH \S+)?/g) ?? [];
  let at = 0;
  const either = (): boolean => {
    let value = both();
    while (tokens[at] === 'OR') {
      at += 1;
      value = both() || value;
    }
    return value;
  };
  const both = (): boolean => {
    let value = one();
    while (tokens[at] === 'AND') {
      at += 1;
      value = one() && value;
    }
    return value;
  };
  const one = (): boolean => {
    const token = tokens[at];
    at += 1;
    if (token !== '(') return token !== undefined && allowed.has(token);
    const value = either();
    at += 1; // the closing parenthesis
    return value;
  };
  return either();
}

interface Found {
  readonly name: string;
  readonly licence: string;
}

function npmLicences(): Found[] {
  const lock: { packages: Record<string, { license?: string; optional?: boolean; version?: string }> } = JSON.parse(
    readFileSync(join(root, 'package-lock.json'), 'utf8'),
  );
  return Object.entries(lock.packages)
    .filter(([path]) => path !== '')
    .map(([path, entry]) => ({ name: `${path}@${entry.version}`, licence: entry.license ?? 'none' }));
}

async function crateLicences(): Promise<Found[]> {
  const metadata: { packages: { name: string; version: string; license: string | null; source: string | null }[] } =
    JSON.parse(await run('cargo', ['metadata', '--format-version=1', '--locked'], { cwd: join(root, 'dataplane') }));
  return metadata.packages
    .filter((crate) => crate.source !== null)
    .map((crate) => ({ name: `${crate.name} ${crate.version}`, licence: crate.license ?? 'none' }));
}
