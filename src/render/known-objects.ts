import { parseMeshSpec } from '../api/mesh.ts';
import { renderMesh } from './mesh-objects.ts';
import type { ServerFeatures } from './server-features.ts';

/** An object by what it is called; namespaced ones are in `tulle-system`. */
export interface ObjectName {
  readonly kind: string;
  readonly name: string;
}

/**
 * What earlier versions rendered and this one does not: the operator deletes it. Whoever renames or drops an object adds its old
 * name here, and the right to delete it to config/rbac/operator.yaml.
 */
export const retiredObjects: readonly ObjectName[] = [];

/**
 * Every object that is, may be or was rendered from a Mesh, as `kind name`. Others that carry the Mesh's label are somebody
 * else's: the operator has no right to them, and leaves them alone.
 */
export function knownObjects(
  features: ServerFeatures,
  retired: readonly ObjectName[] = retiredObjects,
): ReadonlySet<string> {
  const { spec } = parseMeshSpec({ enrolment: { podOptOut: 'Denied' }, node: { startupTaint: 'Auto' } });
  if (spec === undefined) throw new Error('a spec of everything cannot be parsed');
  const release = { version: '0.0.0', image: 'none', nodeImage: 'none' };
  const objects = renderMesh(spec, { release, features, controlAddresses: ['192.0.2.1'] }, 'any');
  return new Set([...objects.map(({ kind, metadata }) => ({ kind, name: metadata.name })), ...retired].map(nameOf));
}

export function nameOf({ kind, name }: ObjectName): string {
  return `${kind} ${name}`;
}
