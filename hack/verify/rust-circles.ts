import { globSync } from 'node:fs';
import { join } from 'node:path';
import { root } from '../cache.ts';
import { allOf, type Module, readCrate, resolve } from './rust-modules.ts';

/** Throws an error that names every circle in the crates of the data plane. */
export function checkCircles(): Promise<void> {
  const files = globSync('dataplane/{*,crates/*}/src/{lib,main}.rs', { cwd: root });
  const found = files.flatMap((file) =>
    circlesOf(join(root, file)).map(
      ({ modules, uses }) => `  ${file}: ${modules.join(', ')}\n    ${uses.join('\n    ')}`,
    ),
  );
  return found.length === 0
    ? Promise.resolve()
    : Promise.reject(new Error(`modules that use each other:\n${found.join('\n')}`));
}

/** Modules that use each other, and by which of their parts: `pod::listeners uses inbound`. */
export interface Circle {
  readonly modules: readonly string[];
  readonly uses: readonly string[];
}

/**
 * The circles in a crate; `file` is its `lib.rs` or `main.rs`.
 *
 * What counts is the use of one module by another in the same folder, a folder with everything in it
 * being one module of the folder around it. A module and its own parts are one thing: `mod.rs` may
 * re-export what its parts have, and they may use what it declares. A re-export leads to where the thing
 * is. Tests are left out: what only they need makes no layer.
 */
export function circlesOf(file: string): Circle[] {
  const crate = readCrate(file);
  return [...allOf(crate)].flatMap((folder) => circlesAmong(folder, crate));
}

function circlesAmong(folder: Module, crate: Module): Circle[] {
  const uses = new Map([...folder.parts.keys()].map((name) => [name, usesOf(folder, name, crate)]));
  return strongComponents(uses).map((names) => ({
    modules: names.map((name) => [...folder.path, name].join('::')),
    uses: names.flatMap((name) =>
      names.flatMap(
        (other) =>
          uses
            .get(name)
            ?.get(other)
            ?.map((user) => `${user} uses ${other}`) ?? [],
      ),
    ),
  }));
}

/** The other parts of a folder that one of them uses, and where it does. */
function usesOf(folder: Module, name: string, crate: Module): Map<string, string[]> {
  const part = folder.parts.get(name);
  const uses = new Map<string, string[]>();
  for (const user of part === undefined ? [] : allOf(part)) {
    const used = new Set(user.named.map((path) => siblingNamed(folder, user, path, crate)));
    for (const other of used) {
      if (other !== undefined && other !== name) uses.set(other, [...(uses.get(other) ?? []), user.path.join('::')]);
    }
  }
  return uses;
}

/** The part of `folder` that a path leads to which `user` names; none where it leads elsewhere. */
function siblingNamed(folder: Module, user: Module, path: readonly string[], crate: Module): string | undefined {
  const target = resolve(user, path, crate, 0);
  const isWithin = target !== undefined && folder.path.every((name, index) => target[index] === name);
  return isWithin ? target[folder.path.length] : undefined;
}

/** Tarjan's algorithm; only those of more than one. */
function strongComponents(edges: ReadonlyMap<string, ReadonlyMap<string, unknown>>): string[][] {
  const found: string[][] = [];
  const order = new Map<string, number>();
  const stack: string[] = [];
  const visit = (name: string): number => {
    const own = order.size;
    order.set(name, own);
    stack.push(name);
    let lowest = own;
    for (const next of edges.get(name)?.keys() ?? []) {
      const seen = order.get(next);
      if (seen === undefined) lowest = Math.min(lowest, visit(next));
      else if (stack.includes(next)) lowest = Math.min(lowest, seen);
    }
    if (lowest === own) {
      const component = stack.splice(stack.indexOf(name));
      if (component.length > 1) found.push(component.sort());
    }
    return lowest;
  };
  for (const name of edges.keys()) if (!order.has(name)) visit(name);
  return found;
}
