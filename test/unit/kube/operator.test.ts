import assert from 'node:assert/strict';
import { KubeConfig } from '@kubernetes/client-node';
import { KubeOperator } from '../../../src/kube/controller/operator.ts';
import { silentLog } from '../../../src/telemetry/log.ts';

describe('what an operator must know before it starts', () => {
  class IdleOperator extends KubeOperator {
    protected override async init(): Promise<void> {}
  }

  function newOperator(): KubeOperator {
    const kubeConfig = new KubeConfig();
    kubeConfig.loadFromClusterAndUser(
      { name: 'nowhere', server: 'https://127.0.0.1:1', skipTLSVerify: false },
      { name: 'nobody' },
    );
    return new IdleOperator({ kubeConfig, log: silentLog, fieldManager: 'test' });
  }

  it('is asked again while the API server is away', async () => {
    const operator = newOperator();
    let asked = 0;
    const answer = await operator.ask('what it serves', async () => {
      asked += 1;
      if (asked < 3) throw new Error('connect ECONNREFUSED');
      return 'v1';
    });
    assert.deepEqual([answer, asked], ['v1', 3]);
    await operator.stop();
  });

  it('is not asked for any more once the operator is stopped', async () => {
    const operator = newOperator();
    const answer = operator.ask('what it serves', async () => {
      void operator.stop();
      throw new Error('connect ECONNREFUSED');
    });
    await assert.rejects(answer, /the operator stops/);
  });
});
