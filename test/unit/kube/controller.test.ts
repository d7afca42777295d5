import assert from 'node:assert/strict';
import { Controller } from '../../../src/kube/controller/controller.ts';
import { done, type Outcome, requeueAfter, type Source } from '../../../src/kube/controller/reconciler.ts';
import { silentLog } from '../../../src/telemetry/log.ts';
import { FakeClock, turn } from '../../fixtures/fake-clock.ts';

describe('a controller', () => {
  let clock: FakeClock;
  let stop: AbortController;
  let add: (key: string) => void;
  let there: string[];
  let passes: string[];
  let reconcile: (key: string) => Promise<Outcome>;
  let running: Promise<void> | undefined;
  let controller: Controller;

  beforeEach(() => {
    clock = new FakeClock();
    stop = new AbortController();
    there = [];
    passes = [];
    running = undefined;
    reconcile = async () => done;
    const source: Source = {
      reflector: { path: '/x', hasSynced: true },
      connect: (adder) => {
        add = adder;
      },
      seed: () => there,
    };
    controller = new Controller({
      name: 'test',
      sources: [source],
      workers: 2,
      log: silentLog,
      clock,
      random: () => 1,
      reconcile: async (key) => {
        passes.push(key);
        return reconcile(key);
      },
    });
  });

  afterEach(async () => {
    stop.abort();
    await running;
    controller.close();
    assert.equal(clock.sleeping, 0, 'a timer was left behind');
  });

  async function leads(): Promise<void> {
    running = controller.run(stop.signal);
    await turn();
  }

  it('does nothing while it does not lead, and looks at everything there is when it comes to', async () => {
    there = ['a', 'b'];
    add('b');
    add('gone-meanwhile');
    await turn();
    assert.deepEqual(passes, []);
    await leads();
    assert.deepEqual(passes.sort(), ['a', 'b', 'gone-meanwhile']);
  });

  it('tries a key that failed again, later and later, while others go on', async () => {
    reconcile = async (key) => {
      if (key === 'bad') throw new Error('no');
      return done;
    };
    await leads();
    add('bad');
    await clock.advance(0);
    add('good');
    await clock.advance(0);
    assert.deepEqual(passes, ['bad', 'good']);
    await clock.advance(100);
    assert.equal(passes.filter((key) => key === 'bad').length, 2);
    await clock.advance(3_600_000);
    const tries = passes.filter((key) => key === 'bad').length;
    assert.ok(tries > 60 && tries < 75, `${tries} tries in an hour`);
  });

  it('tries soon again after a failure that follows a success', async () => {
    let fails = true;
    reconcile = async () => {
      if (fails) throw new Error('no');
      return done;
    };
    await leads();
    add('a');
    await clock.advance(10_000);
    fails = false;
    await clock.advance(60_000);
    fails = true;
    add('a');
    await clock.advance(0);
    assert.equal(clock.nextIn, 100);
  });

  it('comes back to a key when its reconciler asks for it', async () => {
    reconcile = async () => requeueAfter(5_000);
    await leads();
    add('a');
    await clock.advance(4_999);
    assert.equal(passes.length, 1);
    await clock.advance(1);
    assert.equal(passes.length, 2);
  });

  it('given a slow pass, does not work on the same key beside it', async () => {
    const slow = Promise.withResolvers<Outcome>();
    reconcile = () => slow.promise;
    await leads();
    add('a');
    await turn();
    add('a');
    await turn();
    assert.deepEqual(passes, ['a']);
    slow.resolve(done);
    await turn();
    assert.deepEqual(passes, ['a', 'a']);
  });

  it('ends only when its last pass has, and takes up no new key', async () => {
    const slow = Promise.withResolvers<Outcome>();
    reconcile = () => slow.promise;
    await leads();
    add('a');
    await turn();
    stop.abort();
    add('b');
    let ended = false;
    void running?.then(() => {
      ended = true;
    });
    await turn();
    assert.equal(ended, false);
    slow.resolve(done);
    await turn();
    assert.equal(ended, true);
    assert.deepEqual(passes, ['a']);
  });

  it('leads again later with what gathered meanwhile', async () => {
    await leads();
    stop.abort();
    await running;
    stop = new AbortController();
    add('b');
    await leads();
    assert.deepEqual(passes, ['b']);
  });
});
