import { deepStrictEqual, strictEqual } from 'node:assert/strict';
import { tellingLimitMs } from '../../../src/model/enrolment.ts';
import { MeshModel } from '../../../src/model/mesh-model.ts';
import { apply, type Change, permissive } from './cluster.ts';
import { meshNode, pod } from './objects.ts';

function setUp() {
  let now = 0;
  const model = new MeshModel(permissive, () => now);
  /** The names of the pods that are being enrolled after these changes. */
  const enrollingAfter = (...changes: readonly Change[]) => {
    for (const change of changes) apply(model, change);
    model.commit();
    return [...model.workloads.values()].filter(({ transition }) => transition === 'Entering').map(({ name }) => name);
  };
  const afterPeersAreTold = (version: string | undefined) => {
    model.peersToldOf(version);
    return enrollingAfter();
  };
  const pass = (ms: number) => {
    now += ms;
  };
  return { model, enrollingAfter, afterPeersAreTold, pass };
}

const web = { pod: pod({ name: 'web', uid: 'web', ips: ['10.0.0.1'] }) };
const cart = { pod: pod({ name: 'cart', uid: 'cart', ips: ['10.0.0.2'] }) };
const label = { namespace: 'shop', isMember: true };

/** What the agent of the node of both says. */
function report(version: string, captured: readonly string[], failed: readonly string[] = []): Change {
  const node = meshNode('node-1', captured);
  const states = (node.status?.pods ?? []).map((entry) => ({ ...entry }));
  const failures = meshNode('node-1', [], failed).status?.pods ?? [];
  const pods = [...states, ...failures.map((entry) => ({ ...entry, state: 'Failed' as const }))];
  return { meshNode: { ...node, metadata: { ...node.metadata, resourceVersion: version }, status: { pods } } };
}

describe('R24 a running pod', () => {
  it('is being enrolled from its label on, until all peers have been told that it is captured', () => {
    const { enrollingAfter, afterPeersAreTold } = setUp();
    deepStrictEqual(enrollingAfter(web), []);
    deepStrictEqual(enrollingAfter(label), ['web']);
    deepStrictEqual(afterPeersAreTold('6'), ['web'], 'it is not captured');
    deepStrictEqual(enrollingAfter(report('7', ['web'])), ['web']);
    deepStrictEqual(afterPeersAreTold(undefined), ['web']);
    deepStrictEqual(afterPeersAreTold('6'), ['web']);
    deepStrictEqual(afterPeersAreTold('7'), []);
  });

  it('is being enrolled until those that waited to be captured before it are captured too', () => {
    const { enrollingAfter, afterPeersAreTold } = setUp();
    enrollingAfter(web, cart, label);
    enrollingAfter(report('7', ['web']));
    deepStrictEqual(afterPeersAreTold('7'), ['web', 'cart']);
    enrollingAfter(report('8', ['web', 'cart']));
    deepStrictEqual(
      afterPeersAreTold('7'),
      ['cart'],
      'cart sends by the tunnel now; of its own capture peers are told next',
    );
    deepStrictEqual(afterPeersAreTold('8'), []);
  });

  it('does not wait for one that cannot be captured, nor for one that came later', () => {
    const { enrollingAfter, afterPeersAreTold } = setUp();
    enrollingAfter(web, cart, label);
    enrollingAfter(report('7', ['web'], ['cart']));
    deepStrictEqual(afterPeersAreTold('7'), ['cart']);
    const later = setUp();
    later.enrollingAfter(web, label);
    later.enrollingAfter(report('7', ['web']));
    later.enrollingAfter(cart);
    deepStrictEqual(later.afterPeersAreTold('7'), ['cart']);
  });

  it('is being enrolled for a limited time after its capture, whatever peers have been told', () => {
    const { enrollingAfter, afterPeersAreTold, pass, model } = setUp();
    enrollingAfter(web, label);
    pass(10 * tellingLimitMs);
    enrollingAfter(report('7', ['web']));
    strictEqual(model.enrolment.deadline, 11 * tellingLimitMs);
    pass(tellingLimitMs - 1);
    deepStrictEqual(afterPeersAreTold(undefined), ['web']);
    pass(1);
    deepStrictEqual(afterPeersAreTold(undefined), []);
    deepStrictEqual(model.enrolment.awaited, new Set());
  });

  it('is being enrolled again when it leaves and comes back', () => {
    const { enrollingAfter, afterPeersAreTold } = setUp();
    enrollingAfter(web, label);
    enrollingAfter(report('7', ['web']));
    afterPeersAreTold('7');
    deepStrictEqual(enrollingAfter({ namespace: 'shop', isMember: false }), []);
    deepStrictEqual(enrollingAfter(report('8', []), label), ['web']);
  });

  it('is enrolled where it was seen captured from the first, as by a replica that has just started', () => {
    deepStrictEqual(setUp().enrollingAfter(report('7', ['web']), web, label), []);
  });

  it('does not wait for one that has waited for too long itself', () => {
    const { enrollingAfter, afterPeersAreTold, pass } = setUp();
    enrollingAfter(cart, label);
    pass(tellingLimitMs);
    enrollingAfter(web);
    enrollingAfter(report('7', ['web']));
    deepStrictEqual(afterPeersAreTold('7'), ['cart']);
  });

  it('waits for the newest word of all nodes, in whatever order a list gives them', () => {
    const { enrollingAfter, afterPeersAreTold } = setUp();
    enrollingAfter(web, label);
    enrollingAfter(report('9', ['web']), {
      meshNode: { ...meshNode('node-2', []), metadata: { name: 'node-2', resourceVersion: '3' } },
    });
    deepStrictEqual(afterPeersAreTold('8'), ['web']);
    deepStrictEqual(afterPeersAreTold('9'), []);
  });

  it('is not waited for when it is gone', () => {
    const { enrollingAfter, afterPeersAreTold } = setUp();
    enrollingAfter(web, cart, label);
    enrollingAfter(report('7', ['web']), { noPod: 'shop/cart' });
    deepStrictEqual(afterPeersAreTold('7'), []);
  });
});

describe('R30 a pod that leaves', () => {
  const leaving = (model: MeshModel) =>
    [...model.workloads.values()].filter(({ transition }) => transition === 'Leaving').map(({ name }) => name);
  const unlabel = { namespace: 'shop', isMember: false };

  it('is leaving from the end of its label on, also when its node has let it go, until it comes back', () => {
    const { model, enrollingAfter } = setUp();
    enrollingAfter(web, cart, label);
    enrollingAfter(report('7', ['web']));
    enrollingAfter(unlabel);
    deepStrictEqual(leaving(model), ['web'], 'cart had not come in');
    enrollingAfter(report('8', []));
    deepStrictEqual(leaving(model), ['web'], 'its proxy has not let it go yet');
    deepStrictEqual(enrollingAfter(label), ['web', 'cart']);
    deepStrictEqual(leaving(model), []);
  });

  it('is not leaving where nobody has seen it in: its namespace may be known later than the word of its node', () => {
    const { model, enrollingAfter } = setUp();
    enrollingAfter(web, report('7', ['web']));
    deepStrictEqual(leaving(model), []);
  });
});
