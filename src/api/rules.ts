import type { z } from 'zod';

/** A rule over several fields, held by the API server (CEL) and by us (`holds`) with the same words. */
export interface Rule<T> {
  /** The rule in CEL, over `self`. */
  readonly cel: string;
  /** The same rule in TypeScript, over the value after defaults. */
  readonly holds: (value: T) => boolean;
  /** Names the field, says what must be so and how to fix it. */
  readonly message: string;
  /** The field to blame, below the object the rule is on. */
  readonly field: string;
}

/**
 * Puts rules on an object schema: zod checks them when we parse, the generated CRD carries them as
 * `x-kubernetes-validations` so that the API server refuses what we would refuse.
 */
export function withRules<S extends z.ZodType>(schema: S, rules: readonly Rule<z.output<S>>[]): S {
  const checked = schema.check((payload) => {
    for (const rule of rules) {
      if (rule.holds(payload.value)) continue;
      payload.issues.push({ code: 'custom', message: rule.message, path: [rule.field], input: payload.value });
    }
  });
  return checked.meta({ 'x-kubernetes-validations': rules.map(celOf) });
}

/** A CEL rule as a CRD carries it. */
export interface CelRule {
  readonly rule: string;
  readonly message: string;
  readonly fieldPath?: string;
}

function celOf<T>(rule: Rule<T>): CelRule {
  return { rule: rule.cel, message: rule.message, fieldPath: `.${rule.field}` };
}
