import { strictEqual } from 'node:assert/strict';
import type { Mesh } from '../../../src/api/mesh.ts';
import { type MeshInForce, meshDecision } from '../../../src/control/mesh-in-force.ts';

/** A Mesh as the API server may have it, usable or not. */
function meshOf(spec: object, metadata: object = {}): Mesh {
  return JSON.parse(JSON.stringify({ metadata: { name: 'default', ...metadata }, spec }));
}

const lifetime = (leafTtlSeconds: unknown) => ({ authority: { leafTtlSeconds } });

describe('the Mesh in force', () => {
  let inForce: MeshInForce | undefined;

  beforeEach(() => {
    inForce = undefined;
  });

  /** @returns the lifetime of a leaf after it */
  function take(mesh: Mesh): number | undefined {
    ({ inForce } = meshDecision(mesh, inForce, '0.1.0'));
    return inForce?.spec.authority.leafTtlSeconds;
  }

  it('R15 is the last that could be used: one that cannot be parsed changes nothing, the leaf TTL included', () => {
    strictEqual(take(meshOf(lifetime('not a number'))), undefined);
    strictEqual(take(meshOf(lifetime(3600))), 3600, 'not the default that an unusable one would fall back to');
    strictEqual(take(meshOf(lifetime('a day'))), 3600);
    strictEqual(take(meshOf(lifetime(7200))), 7200);
  });

  it('R15 is not one of another version, unless there was none before', () => {
    strictEqual(take(meshOf({ version: '9.9.9', ...lifetime(3600) })), 3600);
    strictEqual(take(meshOf({ version: '0.1.0', ...lifetime(7200) })), 7200);
    strictEqual(take(meshOf({ version: '9.9.9', ...lifetime(1800) })), 7200);
  });

  it('is Permissive while it is being deleted, usable or not, and keeps everything else', () => {
    const strict = { mtls: { mode: 'Strict' }, ...lifetime(3600) };
    const deletionTimestamp = '2026-01-02T00:00:00Z';
    for (const spec of [strict, { mtls: { mode: 'Perhaps' } }, { version: '9.9.9', ...strict }]) {
      take(meshOf(strict));
      strictEqual(inForce?.strictMtls, true);
      strictEqual(take(meshOf(spec, { deletionTimestamp })), 3600);
      strictEqual(inForce?.strictMtls, false);
    }
  });

  it('is none while there is none that can be used, not even to be deleted', () => {
    strictEqual(take(meshOf({ mtls: { mode: 'Perhaps' } }, { deletionTimestamp: '2026-01-02T00:00:00Z' })), undefined);
    strictEqual(inForce, undefined);
  });
});
