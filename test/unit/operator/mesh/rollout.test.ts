import assert from 'node:assert/strict';
import type { MeshNode } from '../../../../src/api/mesh-node.ts';
import { daemonSetProgress, deploymentProgress, readiness, some } from '../../../../src/operator/mesh/rollout.ts';

const settled = { ready: 2, desired: 2, settled: true };
const complete = { control: settled, agent: settled, proxy: settled };

function meshNode(name: string, status: 'True' | 'False', message = ''): MeshNode {
  const condition = {
    type: 'Ready',
    status,
    reason: 'CniNotInstalled',
    message,
    lastTransitionTime: '2026-01-01T00:00:00Z',
  };
  return {
    apiVersion: 'mesh.tulle.dev/v1alpha1',
    kind: 'MeshNode',
    metadata: { name },
    status: { conditions: [condition] },
  };
}

describe('how a rollout stands', () => {
  it('counts only pods of the present revision that are ready', () => {
    const status = { observedGeneration: 2, updatedReplicas: 1, availableReplicas: 3 };
    const deployment = { metadata: { name: 'x', generation: 2 }, spec: { replicas: 3 }, status };
    assert.deepEqual(deploymentProgress(deployment), { ready: 1, desired: 3, settled: true });
  });

  it('is not settled by the numbers of an older spec', () => {
    const status = { observedGeneration: 1, desiredNumberScheduled: 2, updatedNumberScheduled: 2, numberReady: 2 };
    const daemonSet = { metadata: { name: 'x', generation: 2 }, status };
    const proxy = daemonSetProgress(daemonSet);
    assert.deepEqual(proxy, { ready: 2, desired: 2, settled: false });
    assert.equal(readiness({ ...complete, proxy }, []).ready, false);
  });

  it('is not complete while an object is missing', () => {
    const { ready, reason, message } = readiness({ ...complete, agent: daemonSetProgress(undefined) }, []);
    assert.deepEqual([ready, reason], [false, 'RollingOut']);
    assert.equal(message, 'agent 0 of 0 ready.');
  });

  it('is not complete while a node says it cannot enrol pods, and names it with its reason', () => {
    const nodes = [meshNode('node-1', 'True'), meshNode('node-2', 'False', 'no CNI configuration in /etc/cni/net.d')];
    const { ready, reason, message } = readiness(complete, nodes);
    assert.deepEqual([ready, reason], [false, 'NodeNotReady']);
    assert.equal(message, 'node-2: no CNI configuration in /etc/cni/net.d');
    assert.equal(readiness(complete, nodes.slice(0, 1)).ready, true);
  });

  it('names the first few of many', () => {
    assert.equal(some(['a', 'b', 'c'], 2), 'a; b; and 1 more');
    assert.equal(some(['a', 'b'], 2), 'a; b');
  });
});
