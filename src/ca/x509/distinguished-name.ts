import { oid, sequence, set, toDer, utf8String } from './asn1.ts';

/** A distinguished name (RFC 5280, section 4.1.2.4), DER: a verifier compares it byte by byte. */
export type DistinguishedName = Buffer;

/** The name of leaves, whose only names are in their SAN. */
export const emptyName: DistinguishedName = toDer(sequence());

/** The name of a root. */
export function distinguishedName(organization: string, commonName: string): DistinguishedName {
  return toDer(sequence(attribute('2.5.4.10', organization), attribute('2.5.4.3', commonName)));
}

function attribute(type: string, value: string) {
  return set(sequence(oid(type), utf8String(value)));
}
