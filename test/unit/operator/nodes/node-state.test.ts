import assert from 'node:assert/strict';
import { type Mesh, parseMeshSpec } from '../../../../src/api/mesh.ts';
import type { MeshNode, MeshNodeStatus } from '../../../../src/api/mesh-node.ts';
import type { Node } from '../../../../src/kube/objects.ts';
import {
  type NodeState,
  nodeState,
  type StartupTaint,
  startupTaintInForce,
} from '../../../../src/operator/nodes/node-state.ts';

const beforeMesh = '2026-01-01T00:00:00Z';
const meshMade = '2026-01-02T00:00:00Z';
const afterMesh = '2026-01-03T00:00:00Z';

const mesh: Mesh = {
  apiVersion: 'mesh.tulle.dev/v1alpha1',
  kind: 'Mesh',
  metadata: { name: 'default', creationTimestamp: meshMade },
};
const leavingMesh: Mesh = { ...mesh, metadata: { ...mesh.metadata, deletionTimestamp: afterMesh } };

interface NodeOptions {
  created?: string;
  tainted?: boolean;
  served?: boolean;
  /** Of the Node that the annotation says has served. */
  servedAs?: string;
  effect?: string;
  os?: string | undefined;
}

function node({
  created = afterMesh,
  tainted = true,
  served = false,
  servedAs = 'of-this-node',
  effect = 'NoSchedule',
  os = 'linux',
}: NodeOptions = {}): Node {
  const foreign = { key: 'node.kubernetes.io/not-ready', effect: 'NoSchedule' };
  const ours = { key: 'mesh.tulle.dev/not-ready', effect };
  return {
    metadata: {
      name: 'node-3',
      uid: 'of-this-node',
      creationTimestamp: created,
      labels: os === '' ? {} : { 'kubernetes.io/os': os },
      annotations: served ? { 'mesh.tulle.dev/served': servedAs } : {},
    },
    spec: { taints: tainted ? [foreign, ours] : [foreign] },
  };
}

const readyIs = (status: 'True' | 'False', reason = 'Ready', message = '') => [
  { type: 'Ready', status, reason, message, lastTransitionTime: afterMesh },
];
const agent = { version: '0.1.0' };
const proxy = (ready: boolean) => ({ version: '0.1.0', ready, trustBundleSha256: '' });
const serves: MeshNodeStatus = { agent, proxy: proxy(true), conditions: readyIs('True') };
const noCni: MeshNodeStatus = { agent, conditions: readyIs('False', 'CniNotInstalled', 'no configuration to extend') };

function meshNode(status: MeshNodeStatus | undefined, owner = 'of-this-node'): MeshNode {
  const ownerReferences = [{ apiVersion: 'v1', kind: 'Node', name: 'node-3', uid: owner }];
  return {
    apiVersion: 'mesh.tulle.dev/v1alpha1',
    kind: 'MeshNode',
    metadata: { name: 'node-3', ownerReferences },
    ...(status === undefined ? {} : { status }),
  };
}

const waitsFor = (reason: string) => ({ state: 'Waiting', reason });
const open = { state: 'Open' };
const served = { state: 'Served' };

const summary = (result: NodeState) => (result.state === 'Waiting' ? waitsFor(result.reason) : { state: result.state });

describe('R36 whether a node takes pods', () => {
  const [auto, off] = ['Auto', 'Off'] as const;
  const silent = meshNode(undefined);
  const ready = meshNode(serves);

  const cases: [string, Node, MeshNode | undefined, Mesh | undefined, StartupTaint | undefined, object][] = [
    ['it joined and nobody has reported', node(), undefined, mesh, auto, waitsFor('AgentNotReported')],
    ['its MeshNode is there and silent', node(), silent, mesh, auto, waitsFor('AgentNotReported')],
    ['admission let it slip', node({ tainted: false }), silent, mesh, auto, waitsFor('AgentNotReported')],
    ['its agent says why not', node(), meshNode(noCni), mesh, auto, waitsFor('CniNotInstalled')],
    [
      'a proxy is connected and does not serve yet',
      node(),
      meshNode({ ...serves, proxy: proxy(false) }),
      mesh,
      auto,
      waitsFor('ProxyNotReady'),
    ],
    [
      'its MeshNode is that of a Node before it',
      node(),
      meshNode(serves, 'old'),
      mesh,
      auto,
      waitsFor('MeshNodeOfEarlierNode'),
    ],
    ['CNI plugin and proxy serve', node(), ready, mesh, auto, served],
    ['they serve, and it was never tainted', node({ tainted: false }), ready, mesh, auto, served],
    [
      'it has served and its agent restarts',
      node({ tainted: false, served: true }),
      meshNode(noCni),
      mesh,
      auto,
      served,
    ],
    [
      'it has served and its MeshNode was deleted',
      node({ tainted: false, served: true }),
      undefined,
      mesh,
      auto,
      served,
    ],
    [
      'it comes with the annotation of a Node before it, and the taint',
      node({ served: true, servedAs: 'of-one-before' }),
      undefined,
      mesh,
      auto,
      waitsFor('AgentNotReported'),
    ],
    [
      'it is older than the Mesh, and comes with a taint of our key that only prefers',
      node({ created: beforeMesh, effect: 'PreferNoSchedule' }),
      silent,
      mesh,
      auto,
      open,
    ],
    ['it has served and somebody taints it', node({ served: true }), undefined, mesh, auto, served],
    ['it is older than the Mesh', node({ created: beforeMesh, tainted: false }), undefined, mesh, auto, open],
    [
      'it is older than the Mesh, and its cloud tainted it',
      node({ created: beforeMesh }),
      silent,
      mesh,
      auto,
      waitsFor('AgentNotReported'),
    ],
    ['it is older than the Mesh, was tainted, and serves', node({ created: beforeMesh }), ready, mesh, auto, open],
    ['startupTaint is Off', node(), silent, mesh, off, open],
    ['startupTaint is Off, and it serves', node({ tainted: false }), ready, mesh, off, served],
    ['it runs Windows', node({ os: 'windows' }), undefined, mesh, auto, open],
    ['it does not say yet what it runs', node({ os: '' }), undefined, mesh, auto, waitsFor('OperatingSystemUnknown')],
    ['no Mesh ever took effect', node({ tainted: false }), silent, mesh, undefined, open],
    ['no Mesh ever took effect: who waits, waits', node(), silent, mesh, undefined, waitsFor('AgentNotReported')],
    ['no Mesh ever took effect: who serves is let in', node(), ready, mesh, undefined, served],
    ['the Mesh is being deleted', node({ served: true }), silent, leavingMesh, auto, open],
    ['there is no Mesh', node(), undefined, undefined, undefined, open],
  ];
  for (const [when, joined, reported, present, taint, expected] of cases) {
    it(`R36 when ${when}: ${Object.values(expected).join(', ')}`, () => {
      assert.deepEqual(summary(nodeState(joined, reported, present, taint)), expected);
    });
  }

  it('R36 says what a node waits for in the words of its agent', () => {
    const result = nodeState(node(), meshNode(noCni), mesh, auto);
    assert.equal(result.state === 'Waiting' && result.message, 'no configuration to extend');
  });

  it('R36 a Mesh that cannot be used taints on while agents are installed, unless its spec says Off', () => {
    const meshWith = (spec: object): Mesh => ({ ...mesh, spec });
    const unusable = meshWith({ version: '9.9.9' });
    const { spec } = parseMeshSpec({ node: { startupTaint: 'Off' } });
    assert.equal(startupTaintInForce(unusable, undefined, true), 'Auto');
    assert.equal(startupTaintInForce(meshWith({ node: 7 }), undefined, true), 'Auto');
    assert.equal(startupTaintInForce(meshWith({ mtls: 'x', node: { startupTaint: 'Off' } }), undefined, true), 'Off');
    assert.equal(startupTaintInForce(unusable, undefined, false), undefined);
    assert.equal(startupTaintInForce(unusable, spec, true), 'Off');
  });
});
