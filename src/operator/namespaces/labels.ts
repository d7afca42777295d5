import { apiGroup, labels, modes, neverEnrolledNamespaces } from '../../api/names.ts';
import type { EventNote } from '../../kube/events.ts';
import type { Namespace } from '../../kube/objects.ts';

const prefix = `${apiGroup}/`;
const validModes = Object.values(modes);
const namespaceLabels: readonly string[] = [labels.mode, labels.useWaypoint, labels.useWaypointNamespace];

/**
 * What is wrong with our labels on a namespace, if anything is: without it a typo is a namespace silently outside the
 * mesh.
 */
export function labelProblem({ metadata }: Namespace): EventNote | undefined {
  const found = metadata.labels ?? {};
  const mode = found[labels.mode];
  if (mode !== undefined && !validModes.some((valid) => valid === mode)) {
    const valid = validModes.map((value) => `"${value}"`).join(' and ');
    const meant = closest(mode, validModes);
    const hint = meant === undefined ? '' : ` Did you mean "${meant}"?`;
    return warning(
      'InvalidMode',
      `The label ${labels.mode} is "${mode}"; valid values are ${valid}.${hint} The namespace is not in the mesh.`,
    );
  }
  if (mode === modes.ambient && neverEnrolledNamespaces.includes(metadata.name)) {
    return warning(
      'NeverEnrolled',
      `Pods of ${metadata.name} are never enrolled; the label ${labels.mode} has no effect.`,
    );
  }
  const unknown = Object.keys(found).find((key) => key.startsWith(prefix) && !namespaceLabels.includes(key));
  if (unknown !== undefined) {
    const known = namespaceLabels.join(', ');
    return warning('UnknownLabel', `The label ${unknown} means nothing to the mesh; it knows ${known}.`);
  }
  return undefined;
}

function warning(reason: string, note: string): EventNote {
  return { type: 'Warning', reason, action: 'ReadLabels', note };
}

/** The word at most two typing errors away, or different in case only. */
function closest(written: string, words: readonly string[]): string | undefined {
  return words.find((word) => distance(written.toLowerCase().slice(0, 32), word) <= 2);
}

/** Edit distance of Levenshtein. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (const [i, letter] of [...a].entries()) {
    const next = [i + 1];
    for (const [j, other] of [...b].entries()) {
      const replaced = (row[j] ?? 0) + (letter === other ? 0 : 1);
      next.push(Math.min(replaced, (row[j + 1] ?? 0) + 1, (next[j] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}
