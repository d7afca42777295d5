import { strictEqual } from 'node:assert/strict';
import type { Mesh } from '../../../src/api/mesh.ts';
import { specInForce } from '../../../src/cmd/control/spec-in-force.ts';
import type { ReflectorEvent } from '../../../src/kube/reflector.ts';

describe('the spec of the Mesh in force', () => {
  /** A Mesh as the API server may have it, usable or not; `reads` counts how often its spec is looked at. */
  function meshWith(leafTtlSeconds: unknown): { object: Mesh; reads: () => number } {
    let reads = 0;
    const object: Mesh = JSON.parse(
      '{"apiVersion":"mesh.tulle.dev/v1alpha1","kind":"Mesh","metadata":{"name":"default"}}',
    );
    Object.defineProperty(object, 'spec', {
      get() {
        reads += 1;
        return { authority: { leafTtlSeconds } };
      },
    });
    return { object, reads: () => reads };
  }

  function meshes() {
    let tell: (event: ReflectorEvent<Mesh>) => void = () => {};
    const reflector = {
      onEvent: (handler: typeof tell) => {
        tell = handler;
      },
    };
    return { inForce: specInForce(reflector, '0.1.0'), tell: (event: ReflectorEvent<Mesh>) => tell(event) };
  }

  it('R15 is that of the last Mesh that could be used: one that cannot be parsed changes nothing, the leaf TTL included', async () => {
    const { inForce, tell } = meshes();
    tell({ type: 'added', object: meshWith('not a number').object });
    tell({ type: 'modified', object: meshWith(3600).object, old: meshWith(0).object });
    const spec = await inForce;
    strictEqual(spec().authority.leafTtlSeconds, 3600, 'not the default that an unusable one would fall back to');
    tell({ type: 'modified', object: meshWith('a day').object, old: meshWith(3600).object });
    strictEqual(spec().authority.leafTtlSeconds, 3600);
    tell({ type: 'deleted', object: meshWith(7200).object });
    strictEqual(spec().authority.leafTtlSeconds, 3600);
    tell({ type: 'added', object: meshWith(7200).object });
    strictEqual(spec().authority.leafTtlSeconds, 7200);
  });

  it('R15 is not that of a Mesh of another version, unless there was none before', async () => {
    const meshOf = (version: string, leafTtlSeconds: number): Mesh =>
      JSON.parse(JSON.stringify({ metadata: { name: 'default' }, spec: { version, authority: { leafTtlSeconds } } }));
    const { inForce, tell } = meshes();
    tell({ type: 'added', object: meshOf('9.9.9', 3600) });
    const spec = await inForce;
    strictEqual(spec().authority.leafTtlSeconds, 3600);
    for (const [version, expected] of [
      ['0.1.0', 7200],
      ['9.9.9', 7200],
    ] as const) {
      const object = meshOf(version, version === '0.1.0' ? 7200 : 1800);
      tell({ type: 'modified', object, old: object });
      strictEqual(spec().authority.leafTtlSeconds, expected, version);
    }
  });

  it('is parsed once for each change, not at every question', async () => {
    const { inForce, tell } = meshes();
    const { object, reads } = meshWith(3600);
    tell({ type: 'added', object });
    const spec = await inForce;
    for (let question = 0; question < 100; question++) spec();
    strictEqual(reads(), 1);
  });
});
