import forge from 'node-forge';

/** Building DER: the few elements a certificate is made of, by node-forge. */
export type Asn1 = forge.asn1.Asn1;

const { asn1 } = forge;
const { Class, Type } = asn1;

export function sequence(...children: Asn1[]): Asn1 {
  return asn1.create(Class.UNIVERSAL, Type.SEQUENCE, true, children);
}

export function set(...children: Asn1[]): Asn1 {
  return asn1.create(Class.UNIVERSAL, Type.SET, true, children);
}

/** @param value big-endian two's complement in its shortest form */
export function integer(value: Buffer): Asn1 {
  return primitive(Type.INTEGER, value);
}

export function boolean(value: boolean): Asn1 {
  return primitive(Type.BOOLEAN, Buffer.of(value ? 0xff : 0));
}

export function octetString(value: Buffer): Asn1 {
  return primitive(Type.OCTETSTRING, value);
}

export function utf8String(value: string): Asn1 {
  return primitive(Type.UTF8, Buffer.from(value));
}

export function bitString(unusedBits: number, bits: Buffer): Asn1 {
  return primitive(Type.BITSTRING, Buffer.concat([Buffer.of(unusedBits), bits]));
}

/** @param id dotted numbers */
export function oid(id: string): Asn1 {
  return asn1.create(Class.UNIVERSAL, Type.OID, false, asn1.oidToDer(id).getBytes());
}

/** RFC 5280, section 4.1.2.5: UTCTime through 2049, GeneralizedTime from 2050 on, both to the second. */
export function time(at: Date): Asn1 {
  return at.getUTCFullYear() < 2050
    ? asn1.create(Class.UNIVERSAL, Type.UTCTIME, false, asn1.dateToUtcTime(at))
    : asn1.create(Class.UNIVERSAL, Type.GENERALIZEDTIME, false, asn1.dateToGeneralizedTime(at));
}

/** The tags we use; forge's typings take a context-specific tag for one of the universal types. */
type ContextTag = 0 | 2 | 3 | 6;

/** An explicitly tagged element, or an implicitly tagged constructed one. */
export function explicit(tag: ContextTag, child: Asn1): Asn1 {
  return asn1.create(Class.CONTEXT_SPECIFIC, tag, true, [child]);
}

/** An implicitly tagged primitive element. */
export function implicit(tag: ContextTag, value: Buffer): Asn1 {
  return asn1.create(Class.CONTEXT_SPECIFIC, tag, false, toBytes(value));
}

/** An element that is DER already; only for DER we made or checked. */
export function ready(der: Buffer): Asn1 {
  return asn1.fromDer(toBytes(der));
}

export function toDer(value: Asn1): Buffer {
  return Buffer.from(asn1.toDer(value).getBytes(), 'latin1');
}

function primitive(type: forge.asn1.Type, value: Buffer): Asn1 {
  return asn1.create(Class.UNIVERSAL, type, false, toBytes(value));
}

/** forge speaks of bytes as strings with one character a byte. */
function toBytes(buffer: Buffer): string {
  return buffer.toString('latin1');
}
