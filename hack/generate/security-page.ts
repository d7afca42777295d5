import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { TulleError } from '../../src/errors/tulle-error.ts';
import type { GeneratedFile } from './generated-file.ts';
import { promises } from './promises.ts';

const page = 'docs/security.md';
const begin = '<!-- Generated from the titles of tests by `make generate`: do not edit up to the end mark. -->';
const end = '<!-- End of what is generated. -->';

/** A test that shows a promise. */
interface Evidence {
  readonly title: string;
  readonly file: string;
}

/** The security page, with the list of promises and the tests that show them as the sources have them now. */
export function securityPage(root: string): GeneratedFile {
  const text = readFileSync(join(root, page), 'utf8');
  const [head, rest, ...more] = text.split(begin);
  const [, tail] = rest?.split(end) ?? [];
  if (head === undefined || tail === undefined || more.length > 0) {
    throw new TulleError('GeneratedFilesStale', `${page} has no place for the generated list.`, {
      fix: `Put the lines\n${begin}\n${end}\nwhere it belongs.`,
    });
  }
  return { path: page, content: `${head}${begin}\n\n${list(evidence(root))}\n${end}${tail}` };
}

function list(shown: ReadonlyMap<string, readonly Evidence[]>): string {
  return Object.entries(promises)
    .map(([number, promise]) => {
      const files = Map.groupBy(shown.get(number) ?? [], ({ file }) => file);
      const lines = [...files].map(
        ([file, tests]) => `  - [${file}](../${file}): ${tests.map(({ title }) => title).join('; ')}`,
      );
      return `- **${number}** ${promise}\n${lines.length === 0 ? '  - open: no test yet' : lines.join('\n')}\n`;
    })
    .join('');
}

function evidence(root: string): ReadonlyMap<string, readonly Evidence[]> {
  const read = (pattern: string, titles: (source: string) => readonly string[]) =>
    globSync(pattern, { cwd: root, exclude: ['dataplane/target/**'] })
      .sort()
      .flatMap((file) => titles(readFileSync(join(root, file), 'utf8')).map((title) => ({ title, file })));
  const all = [...read('test/**/*.{test,bench}.ts', titlesOfMocha), ...read('dataplane/**/*.rs', titlesOfCargo)];
  const shown = new Map<string, Evidence[]>();
  for (const { title, file } of all) {
    for (const number of new Set(numbersOf(title))) {
      if (promises[number] === undefined) {
        throw new TulleError('GeneratedFilesStale', `${file} shows ${number}, which is no promise: ${title}`);
      }
      shown.set(number, [...(shown.get(number) ?? []), { title: withoutNumbers(title), file }]);
    }
  }
  return shown;
}

/** Titles of tests that begin with a number, and of groups whose number no test in the file has. */
function titlesOfMocha(source: string): readonly string[] {
  const titled = (kind: string) =>
    [...source.matchAll(new RegExp(`\\b${kind}\\(\\s*(['"\`])((?:R\\d\\d)(?:(?!\\1).)*)\\1`, 'g'))].map(
      ([, , title = '']) => title.replaceAll(/\$\{[^}]*\}/g, '…').replaceAll('\\', ''),
    );
  const tests = titled('it');
  const shown = new Set(tests.flatMap(numbersOf));
  return [...titled('describe').filter((title) => numbersOf(title).some((number) => !shown.has(number))), ...tests];
}

function numbersOf(title: string): readonly string[] {
  return title.match(/\bR\d\d\b/g) ?? [];
}

/** A test of R07 is a function `r07_what_holds`. */
function titlesOfCargo(source: string): readonly string[] {
  return [...source.matchAll(/\bfn ((?:r\d\d_)+\w+)\(/g)].map(([, name = '']) =>
    name.replace(/^(?:r\d\d_)+/, (numbers) => numbers.toUpperCase()).replaceAll('_', ' '),
  );
}

function withoutNumbers(title: string): string {
  return title.replace(/^(?:R\d\d[\s,/]*)+/, '');
}
