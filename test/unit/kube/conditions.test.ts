import assert from 'node:assert/strict';
import { conditionsFor, conditionTime } from '../../../src/kube/conditions.ts';

describe('conditions', () => {
  const before = [
    { type: 'Ready', status: 'False' as const, reason: 'RollingOut', message: '1 of 2', lastTransitionTime: 'then' },
  ];

  it('keep their time while only reason and message move, and take a new one when the status does', () => {
    const still = { type: 'Ready', status: 'False' as const, reason: 'NodeNotReady', message: 'node-1' };
    assert.equal(conditionsFor(before, [still], 'now')[0]?.lastTransitionTime, 'then');
    const ready = { ...still, status: 'True' as const };
    assert.equal(conditionsFor(before, [ready], 'now')[0]?.lastTransitionTime, 'now');
  });

  it('of others are not taken over', () => {
    const accepted = { type: 'Accepted', status: 'True' as const, reason: 'Accepted', message: '' };
    assert.deepEqual(
      conditionsFor(before, [accepted], 'now').map(({ type }) => type),
      ['Accepted'],
    );
  });

  it('carry times in whole seconds', () => {
    assert.equal(conditionTime(Date.UTC(2026, 0, 2, 3, 4, 5, 678)), '2026-01-02T03:04:05Z');
  });
});
