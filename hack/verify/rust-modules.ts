import { existsSync, readFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';

/** A module of a crate: its path in the crate, its parts, and every path that its own file names. */
export interface Module {
  readonly path: readonly string[];
  readonly parts: Map<string, Module>;
  /** What a name in it stands for, as its `use` declarations say. */
  readonly imports: Map<string, readonly string[]>;
  /** Everything that its file names by a path. */
  readonly named: (readonly string[])[];
}

/** The modules of a crate; `root` is its `lib.rs` or `main.rs`. What is compiled for tests only is left out. */
export function readCrate(root: string): Module {
  return readModule(root, dirname(root), []);
}

/** A module and everything in it. */
export function* allOf(module: Module): Generator<Module> {
  yield module;
  for (const part of module.parts.values()) yield* allOf(part);
}

/** The longest path of a re-export through re-exports; beyond it there is a loop. */
const longestChain = 8;

/** The module in which the thing is that a path names in `from`; none where that is another crate's. */
export function resolve(
  from: Module,
  path: readonly string[],
  crate: Module,
  depth: number,
): readonly string[] | undefined {
  let [at, index] = start(from, path, crate);
  if (at === undefined) return undefined;
  for (; index < path.length; index += 1) {
    const name = path[index] ?? '';
    const part: Module | undefined = at.parts.get(name);
    if (part === undefined) {
      const imported = at.imports.get(name);
      const isElsewhere = imported !== undefined && !(at === from && imported.join() === path.join());
      return isElsewhere && depth < longestChain ? (resolve(at, imported, crate, depth + 1) ?? at.path) : at.path;
    }
    at = part;
  }
  return at.path;
}

/** Where a path begins, and how many of its names that took. */
function start(from: Module, path: readonly string[], crate: Module): [at: Module | undefined, names: number] {
  if (path[0] === 'crate') return [crate, 1];
  if (path[0] === 'self') return [from, 1];
  const ups = path.findIndex((name) => name !== 'super');
  if (ups > 0) return [moduleAt(crate, from.path.slice(0, from.path.length - ups)), ups];
  return [from.parts.has(path[0] ?? '') ? from : undefined, 0];
}

function moduleAt(crate: Module, path: readonly string[]): Module | undefined {
  return path.reduce<Module | undefined>((module, name) => module?.parts.get(name), crate);
}

/** Reads a module from its file; the files of its parts are in `folder`. */
function readModule(file: string, folder: string, path: readonly string[]): Module {
  const code = productCode(readFileSync(file, 'utf8'));
  const module: Module = { path, parts: new Map(), imports: new Map(), named: [] };
  for (const [, name = ''] of code.matchAll(/\bmod\s+(\w+)\s*;/g)) {
    const found = [`${name}.rs`, join(name, 'mod.rs')].map((one) => join(folder, one)).find(existsSync);
    if (found === undefined) throw new Error(`${file} declares the module ${name}, which has no file`);
    module.parts.set(name, readModule(found, partsFolder(found), [...path, name]));
  }
  for (const [, tree = ''] of code.matchAll(/\buse\s+([^;]+);/g)) {
    for (const { target, name } of leaves(tree)) {
      module.imports.set(name, target);
      module.named.push(target);
    }
  }
  for (const [named] of code.matchAll(/\b(?:crate|self|super)(?:::\w+)+/g)) module.named.push(named.split('::'));
  return module;
}

function partsFolder(file: string): string {
  return basename(file) === 'mod.rs' ? dirname(file) : file.slice(0, -'.rs'.length);
}

/** What a `use` declares: `a::{b, c as d}` is `a::b` under the name b, and `a::c` under the name d. */
function leaves(tree: string, before: readonly string[] = []): { target: readonly string[]; name: string }[] {
  const open = tree.indexOf('{');
  if (open < 0) {
    const [text = '', alias] = tree.split(/\bas\b/);
    const names = [...before, ...text.trim().split('::')].filter((name) => name !== '' && name !== '*');
    const target = names.at(-1) === 'self' && names.length > 1 ? names.slice(0, -1) : names;
    return [{ target, name: alias?.trim() ?? target.at(-1) ?? '' }];
  }
  const prefix = [...before, ...tree.slice(0, open).trim().split('::').filter(Boolean)];
  return splitList(tree.slice(open + 1, tree.lastIndexOf('}'))).flatMap((one) => leaves(one, prefix));
}

/** The entries of a list, at commas that are not in braces. */
function splitList(list: string): string[] {
  const entries = [''];
  let depth = 0;
  for (const char of list) {
    if (char === '{') depth += 1;
    if (char === '}') depth -= 1;
    if (char === ',' && depth === 0) entries.push('');
    else entries.push(`${entries.pop()}${char}`);
  }
  return entries.filter((entry) => entry.trim() !== '');
}

const textOrComment = /\/\/[^\n]*|\/\*[\s\S]*?\*\/|\bb?r(#*)"[\s\S]*?"\1|"(?:\\[\s\S]|[^"\\])*"|'(?:\\[^']+|[^\\'])'/g;

/** A file without its comments, its texts, and what is compiled for tests only. */
function productCode(source: string): string {
  let code = source.replace(textOrComment, ' ');
  for (let at = code.indexOf('#[cfg(test)]'); at >= 0; at = code.indexOf('#[cfg(test)]')) {
    code = code.slice(0, at) + code.slice(endOfItem(code, at));
  }
  return code;
}

/** Where the item ends that begins at `start` with its attributes. */
function endOfItem(code: string, start: number): number {
  let depth = 0;
  for (let at = start; at < code.length; at += 1) {
    const char = code[at] ?? '';
    if ('([{'.includes(char)) depth += 1;
    if (')]}'.includes(char)) depth -= 1;
    if (depth === 0 && (char === ';' || char === '}')) return at + 1;
  }
  return code.length;
}
