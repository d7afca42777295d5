import { z } from 'zod';

/** What a token says of itself, unverified. */
export interface TokenClaims {
  readonly audiences: readonly string[];
  /** ms since the epoch. */
  readonly expiresAt: number;
}

/** RFC 7519, 4.1.3 and 4.1.4. */
const claims = z.object({
  aud: z.union([z.string().transform((audience) => [audience]), z.array(z.string())]),
  exp: z.number(),
});

/** The claims of a JWT (RFC 7519) in compact form; undefined when it is none, or does not say for whom and until when. */
export function claimsOf(token: string): TokenClaims | undefined {
  const [, payload = '', signature = '', ...more] = token.split('.');
  if (signature === '' || more.length > 0) return undefined;
  try {
    const parsed = claims.safeParse(JSON.parse(Buffer.from(payload, 'base64url').toString('utf8')));
    return parsed.data === undefined ? undefined : { audiences: parsed.data.aud, expiresAt: parsed.data.exp * 1000 };
  } catch {
    return undefined;
  }
}
