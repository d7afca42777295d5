import assert from 'node:assert/strict';
import type { Mesh, MeshSpec } from '../../../src/api/mesh.ts';
import { parseMeshSpec } from '../../../src/api/mesh.ts';
import type { MeshNode, MeshNodeStatus } from '../../../src/api/mesh-node.ts';
import { type NodeState, nodeState } from '../../../src/controllers/node-state.ts';
import type { Node } from '../../../src/kube/objects.ts';

const beforeMesh = '2026-01-01T00:00:00Z';
const meshMade = '2026-01-02T00:00:00Z';
const afterMesh = '2026-01-03T00:00:00Z';

const mesh: Mesh = {
  apiVersion: 'mesh.tulle.dev/v1alpha1',
  kind: 'Mesh',
  metadata: { name: 'default', creationTimestamp: meshMade },
};
const leavingMesh: Mesh = { ...mesh, metadata: { ...mesh.metadata, deletionTimestamp: afterMesh } };

function specWith(startupTaint: 'Auto' | 'Off'): MeshSpec {
  const { spec } = parseMeshSpec({ node: { startupTaint } });
  assert.ok(spec);
  return spec;
}

interface NodeOptions {
  created?: string;
  tainted?: boolean;
  served?: boolean;
  os?: string | undefined;
}

function node({ created = afterMesh, tainted = true, served = false, os = 'linux' }: NodeOptions = {}): Node {
  const foreign = { key: 'node.kubernetes.io/not-ready', effect: 'NoSchedule' };
  const ours = { key: 'mesh.tulle.dev/not-ready', effect: 'NoSchedule' };
  return {
    metadata: {
      name: 'node-3',
      uid: 'of-this-node',
      creationTimestamp: created,
      labels: os === '' ? {} : { 'kubernetes.io/os': os },
      annotations: served ? { 'mesh.tulle.dev/served': 'true' } : {},
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
  const auto = specWith('Auto');
  const off = specWith('Off');
  const silent = meshNode(undefined);
  const ready = meshNode(serves);

  const cases: [string, Node, MeshNode | undefined, Mesh | undefined, MeshSpec | undefined, object][] = [
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
    ['the Mesh cannot be used: nothing new is tainted', node({ tainted: false }), silent, mesh, undefined, open],
    ['the Mesh cannot be used: who waits, waits', node(), silent, mesh, undefined, waitsFor('AgentNotReported')],
    ['the Mesh cannot be used: who serves is let in', node(), ready, mesh, undefined, served],
    ['the Mesh is being deleted', node({ served: true }), silent, leavingMesh, auto, open],
    ['there is no Mesh', node(), undefined, undefined, undefined, open],
  ];
  for (const [when, joined, reported, present, spec, expected] of cases) {
    it(`R36 when ${when}: ${Object.values(expected).join(', ')}`, () => {
      assert.deepEqual(summary(nodeState(joined, reported, present, spec)), expected);
    });
  }

  it('R36 says what a node waits for in the words of its agent', () => {
    const result = nodeState(node(), meshNode(noCni), mesh, auto);
    assert.equal(result.state === 'Waiting' && result.message, 'no configuration to extend');
  });
});
