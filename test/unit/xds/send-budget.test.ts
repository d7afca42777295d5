import { deepStrictEqual, strictEqual } from 'node:assert/strict';
import { mock } from 'node:test';
import { SendBudget, type SendLimits } from '../../../src/xds/send-budget.ts';

const limits: SendLimits = { small: 10, allSmall: 30, allLarge: 100, each: 0, stallMs: 1_000, paceBytes: 20 };

describe('R38 the room for responses on their way', () => {
  /** Names of the responses that were let go, and of those whose stream was told to end. */
  let begun: string[];
  let stalled: string[];
  let budget: SendBudget;

  beforeEach(() => {
    mock.timers.enable({ apis: ['setTimeout'] });
    begun = [];
    stalled = [];
    budget = new SendBudget(limits);
  });

  afterEach(() => mock.timers.reset());

  function enter(name: string, bytes: number, client = name) {
    const send = { client, bytes, begin: () => begun.push(name), stalled: () => stalled.push(name) };
    budget.enter(send);
    return send;
  }

  it('is given first come, first served: a large one is not overtaken by those that would still fit', () => {
    const first = enter('first', 60);
    enter('large', 90);
    enter('later', 40);
    deepStrictEqual(begun, ['first']);
    budget.leave(first);
    deepStrictEqual(begun, ['first', 'large']);
    enter('last', 11);
    deepStrictEqual(begun, ['first', 'large'], 'one of 40 waits, and came before');
  });

  it('is of their own for small ones, who neither wait for large ones nor keep them waiting', () => {
    enter('large', 100);
    enter('next', 100);
    for (const name of ['a', 'b', 'c', 'd']) enter(name, 10);
    deepStrictEqual(begun, ['large', 'a', 'b', 'c']);
    strictEqual(budget.held, 130);
  });

  it('is kept from nobody by one that waits for another response of its own client', () => {
    const first = enter('first', 40, 'node-1');
    enter('second', 11, 'node-1');
    enter('other', 20, 'node-2');
    deepStrictEqual(begun, ['first', 'other']);
    budget.leave(first);
    deepStrictEqual(
      begun.toSorted(),
      ['first', 'other', 'second', 'third'].filter((name) => begun.includes(name)),
    );
    strictEqual(begun.length, 3, 'one of the two');
  });

  it('is for one alone that is larger than all of it', () => {
    const first = enter('first', 50);
    const huge = enter('huge', 1_000);
    deepStrictEqual(begun, ['first']);
    budget.leave(first);
    enter('later', 50);
    deepStrictEqual(begun, ['first', 'huge']);
    budget.leave(huge);
    deepStrictEqual(begun, ['first', 'huge', 'later']);
    strictEqual(budget.held, 50);
  });

  it('stays with one that is slow and steady, and is taken from one that is not read, once others wait', () => {
    const steady = enter('steady', 60);
    enter('unread', 40);
    for (let second = 0; second < 5; second++) {
      mock.timers.tick(900);
      budget.progressed(steady, 20);
    }
    deepStrictEqual(stalled, [], 'nobody waits');
    enter('next', 40);
    deepStrictEqual(stalled, ['unread']);
    mock.timers.tick(900);
    budget.progressed(steady, 19);
    mock.timers.tick(100);
    deepStrictEqual(stalled, ['unread', 'steady'], 'that was too little in that time');
  });
});
