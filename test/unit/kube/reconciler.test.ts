import assert from 'node:assert/strict';
import type { ReflectorEvent } from '../../../src/kube/cache/reflector.ts';
import { Store } from '../../../src/kube/cache/store.ts';
import { done, isOfSpec, requeueAfter, sooner, source } from '../../../src/kube/controller/reconciler.ts';
import type { KubeObject } from '../../../src/kube/objects.ts';

describe('two outcomes of one pass', () => {
  it('look again when the first of them wants to', () => {
    assert.equal(sooner(done, done), done);
    for (const [a, b] of [
      [requeueAfter(1), requeueAfter(2)],
      [requeueAfter(1), done],
    ] as const) {
      assert.equal(sooner(a, b), a);
      assert.equal(sooner(b, a), a);
    }
  });
});

describe('a source of keys', () => {
  const object = (name: string, generation: number, more: object = {}): KubeObject => ({
    metadata: { name, uid: 'u', generation, ...more },
  });

  function keysAfter(events: ReflectorEvent<KubeObject>[], matters?: (a: KubeObject, b: KubeObject) => boolean) {
    const added: string[] = [];
    const reflector = {
      path: '/x',
      hasSynced: true,
      store: new Store<KubeObject>(),
      onEvent: (handler: (event: ReflectorEvent<KubeObject>) => void) => {
        for (const event of events) handler(event);
        return () => {};
      },
    };
    source(reflector, ({ metadata }) => [metadata.name], matters).connect((key) => added.push(key));
    return added;
  }

  it('has those of an object before and after a change', () => {
    const change = { type: 'modified', old: object('a', 1), object: object('b', 2) } as const;
    assert.deepEqual(keysAfter([change]), ['b', 'a']);
  });

  it('leaves out changes that do not matter, and no other event', () => {
    const status = { type: 'modified', old: object('a', 1), object: object('a', 1) } as const;
    const added = { type: 'added', object: object('a', 1) } as const;
    const deleted = { type: 'deleted', object: object('a', 1) } as const;
    assert.deepEqual(keysAfter([added, status, deleted], isOfSpec), ['a', 'a']);
  });

  it('may go by the spec: another generation, another object, its deletion', () => {
    const before = object('a', 1);
    assert.equal(isOfSpec(before, object('a', 1, { resourceVersion: '2' })), false);
    for (const after of [object('a', 2), object('a', 1, { uid: 'v' }), object('a', 1, { deletionTimestamp: 'now' })]) {
      assert.equal(isOfSpec(before, after), true);
    }
  });
});
