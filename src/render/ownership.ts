import { apiGroup, managedBy, ownedLabels } from '../api/names.ts';

/**
 * On every object that is rendered from a Mesh: the Mesh's name. What carries it, is known (known-objects.ts) and no longer
 * rendered is pruned.
 */
export const meshLabel = `${apiGroup}/mesh`;

/** On the same objects: the hash of what was applied last. */
export const appliedHashAnnotation = `${apiGroup}/applied-hash`;

/** Labels that tell one component's pods from all others; they never change, since selectors are immutable. */
export function selectorLabels(component: string): Record<string, string> {
  return { [ownedLabels.managedBy]: managedBy, [ownedLabels.name]: component };
}

/** Labels of an object rendered from the Mesh `mesh`. */
export function objectLabels(component: string, mesh: string): Record<string, string> {
  return { ...selectorLabels(component), 'app.kubernetes.io/part-of': 'tulle', [meshLabel]: mesh };
}
