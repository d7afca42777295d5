import { strictEqual, throws } from 'node:assert/strict';
import { timeoutMs } from '../../../src/grpc/timeout.ts';

describe('the time a caller gives a call', () => {
  it('has the units of gRPC', () => {
    const times = [undefined, '2H', '3M', '4S', '5m', '6000u', '7000000n', '0S'];
    const ms = [undefined, 7_200_000, 180_000, 4000, 5, 6, 7, 0];
    for (const [index, time] of times.entries()) strictEqual(Math.round(timeoutMs(time) ?? -1), ms[index] ?? -1);
  });

  it('R37 is at most what a timer can wait, and nothing that is none', () => {
    strictEqual(timeoutMs('99999999H'), 2 ** 31 - 1);
    for (const none of ['', 'H', '1', '-1S', '123456789S', '1s', '1.5S', 'NaNS', ' 1S']) {
      throws(() => timeoutMs(none), { code: 'INVALID_ARGUMENT' }, none);
    }
  });
});
