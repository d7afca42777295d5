import assert from 'node:assert/strict';
import { LimitedLog } from '../../../src/limits/limited-log.ts';
import { RecordingLog } from '../../fixtures/ca/recording-log.ts';

describe('R37 warnings that strangers cause', () => {
  it('are left out beyond a few, and counted in the next one', () => {
    const log = new RecordingLog();
    let now = 0;
    const limited = new LimitedLog(log, () => now);
    for (let call = 0; call < 1_000; call++) limited.warn({ call }, 'refused');
    assert.equal(log.lines.length, 20);
    now = 500;
    limited.warn({ call: 1_000 }, 'refused');
    assert.deepEqual(log.lines.at(-1)?.fields, { call: 1_000, leftOut: 980 });
    now = 1_000;
    limited.warn({ call: 1_001 }, 'refused');
    assert.deepEqual(log.lines.at(-1)?.fields, { call: 1_001 });
  });
});
