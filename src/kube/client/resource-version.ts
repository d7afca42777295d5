/**
 * Whether version `a` is certainly older than `b`. ResourceVersions of one kind grow with time and compare as numbers (KEP-5504);
 * those that are not numbers are never older.
 */
export function isOlder(a: string | undefined, b: string | undefined): boolean {
  if (a === undefined || b === undefined || !NUMBER.test(a) || !NUMBER.test(b)) return false;
  return BigInt(a) < BigInt(b);
}

const NUMBER = /^[0-9]{1,20}$/;
