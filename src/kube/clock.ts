/** Time as this layer sees it, so that tests can hold it still. All times are milliseconds. */
export interface Clock {
  /** Wall-clock time since the epoch, ms. */
  now(): number;
  /** A clock that is never set back or forward, ms since some moment: for durations. */
  monotonic(): number;
  /** Resolves after `ms`, or as soon as `signal` aborts, whichever is first; it never rejects. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
}

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  sleep: (ms, signal) =>
    new Promise((resolve) => {
      if (signal?.aborted) {
        resolve();
        return;
      }
      const done = () => {
        clearTimeout(timer);
        signal?.removeEventListener('abort', done);
        resolve();
      };
      const timer = setTimeout(done, ms);
      signal?.addEventListener('abort', done, { once: true });
    }),
};
