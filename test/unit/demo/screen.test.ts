import assert from 'node:assert/strict';
import { droppedPackets } from '../../../hack/demo/recorder.ts';
import { progressText, readableExcerpts } from '../../../hack/demo/screen.ts';
import { enrolmentProgress } from '../../../hack/demo/shop.ts';
import { pod, state } from './demo-fixture.ts';

describe('what the demo shows', () => {
  it('one request of each kind', () => {
    const call = { from: 'web', to: 'cart', port: 8080, at: 0, bytes: 1, what: '' };
    const lines = readableExcerpts([
      { ...call, sample: 'HTTP/1.1 200 OK' },
      { ...call, sample: 'GET /carts/1 HTTP/1.1' },
      { ...call, sample: 'GET /carts/2 HTTP/1.1' },
      { ...call, from: 'cart', to: 'redis', port: 6379, sample: '*2⏎$7⏎HGETALL' },
    ]);
    assert.deepEqual(lines, ['web → cart, port 8080: GET /carts/1 HTTP/1.1', 'cart → redis, port 6379: *2⏎$7⏎HGETALL']);
  });

  it('how far the enrolment is, counting only pods of the shop that run', () => {
    const pods = ['web', 'cart'].map(pod);
    const states = [
      state('web'),
      { ...state('cart'), state: 'Pending' as const, existingConnections: 2 },
      state('redis'),
    ];
    const progress = enrolmentProgress(pods, states);
    assert.equal(progress.done, false);
    assert.equal(progressText(progress, pods.length), '1 of 2 pods Secured, 1 Pending, existing connections: 2');
    assert.equal(enrolmentProgress(pods, ['web', 'cart'].map(state)).done, true);
    assert.equal(enrolmentProgress([], []).done, false);
  });

  it('how many packets tcpdump missed, or that it cannot say', () => {
    assert.equal(droppedPackets('12 packets captured\n0 packets dropped by kernel\n'), 0);
    assert.equal(droppedPackets('1 packet dropped by kernel'), 1);
    assert.throws(() => droppedPackets('Killed'), /did not end properly: Killed/);
  });
});
