/**
 * Questions about one key share an answer, which is begun after the last of them asked: while one is under way, those who come wait
 * for the next. However many ask, one question a key is under way.
 */
export function coalesced<T>(ask: (key: string) => Promise<T>): (key: string) => Promise<T> {
  const underway = new Map<string, { readonly now: Promise<T>; next?: Promise<T> }>();

  function begin(key: string): Promise<T> {
    const now = ask(key);
    const entry = { now };
    underway.set(key, entry);
    const done = () => {
      if (underway.get(key) === entry && !('next' in entry)) underway.delete(key);
    };
    now.then(done, done);
    return now;
  }

  return (key) => {
    const entry = underway.get(key);
    if (entry === undefined) return begin(key);
    entry.next ??= entry.now.then(
      () => begin(key),
      () => begin(key),
    );
    return entry.next;
  };
}
