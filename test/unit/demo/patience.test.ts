import assert from 'node:assert/strict';
import type { DemoCluster } from '../../../hack/demo/cluster.ts';
import { withPatience } from '../../../hack/demo/patience.ts';
import { CommandError } from '../../../hack/process.ts';

/** A cluster whose kubectl gives these answers in turn. */
function clusterThat(answers: readonly (string | Error)[]): DemoCluster & { calls: number } {
  const cluster = {
    name: 'test',
    kubeconfig: '',
    kubectlFolder: undefined,
    nodes: [],
    calls: 0,
    kubectl: async () => {
      const answer = answers[cluster.calls++] ?? '';
      if (answer instanceof Error) throw answer;
      return answer;
    },
    apply: async () => '',
    loadImages: async () => {},
    inNetworkOf: async () => [],
  };
  return cluster;
}

const refused = new CommandError('kubectl', 'ended with 1', 'The connection to the server 172.30.0.1:6443 was refused');
const forbidden = new CommandError('kubectl', 'ended with 1', 'Error from server (Forbidden): pods is forbidden');

describe('an outage of the API server during the demo', () => {
  it('is waited for', async () => {
    const cluster = clusterThat([refused, 'an answer']);
    assert.equal(await withPatience(cluster).kubectl('get', 'pods'), 'an answer');
  });

  it('is not waited for longer than the limit', async () => {
    const cluster = clusterThat([refused, refused]);
    await assert.rejects(withPatience(cluster, -1).kubectl('get', 'pods'), /answers kubectl get pods: not so/);
    assert.equal(cluster.calls, 1);
  });

  it('is not taken for another error, and an empty answer is an answer', async () => {
    await assert.rejects(withPatience(clusterThat([forbidden, 'late'])).kubectl('get', 'pods'), /Forbidden/);
    assert.equal(await withPatience(clusterThat(['', 'late'])).kubectl('get', 'pods'), '');
  });
});
