import { deepStrictEqual } from 'node:assert/strict';
import { Batcher } from '../../../src/control/batcher.ts';

/** Time that passes when the test says so. */
class FakeTime {
  #now = 0;
  #timers: { at: number; action: () => void }[] = [];
  readonly now = () => this.#now;
  readonly after = (ms: number, action: () => void) => {
    const timer = { at: this.#now + ms, action };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((other) => other !== timer);
    };
  };

  pass(ms: number): void {
    const end = this.#now + ms;
    for (;;) {
      const due = this.#timers.filter(({ at }) => at <= end).sort((a, b) => a.at - b.at)[0];
      if (due === undefined) break;
      this.#timers = this.#timers.filter((timer) => timer !== due);
      this.#now = due.at;
      due.action();
    }
    this.#now = end;
  }
}

describe('a burst of changes', () => {
  function setUp() {
    const time = new FakeTime();
    const flushes: number[] = [];
    const batcher = new Batcher({ flush: () => flushes.push(time.now()), quietMs: 10, maxMs: 100, timers: time });
    return { time, flushes, batcher };
  }

  it('is one flush, ten milliseconds after the last of them', () => {
    const { time, flushes, batcher } = setUp();
    for (let change = 0; change < 5; change++) {
      batcher.touch();
      time.pass(4);
    }
    time.pass(1000);
    deepStrictEqual(flushes, [26]);
  });

  it('that does not end is flushed every hundred milliseconds', () => {
    const { time, flushes, batcher } = setUp();
    for (let change = 0; change < 50; change++) {
      batcher.touch();
      time.pass(5);
    }
    time.pass(1000);
    deepStrictEqual(flushes, [100, 200, 255]);
  });

  it('is forgotten when there is nobody to tell any more', () => {
    const { time, flushes, batcher } = setUp();
    batcher.touch();
    batcher.stop();
    time.pass(1000);
    deepStrictEqual(flushes, []);
  });
});
