import { z } from 'zod';
import { TulleError } from '../../src/errors/tulle-error.ts';

/** A node of a structural schema (Kubernetes' subset of OpenAPI 3.0), plain JSON. */
export type StructuralSchema = { [key: string]: unknown };

/**
 * A zod schema as a structural schema an API server accepts: what a user may write, with defaults.
 *
 * Structural schemas know no `additionalProperties: false` (unknown fields are pruned), no bounds a 64-bit integer
 * cannot pass, no pattern beside a format, and a union only as `x-kubernetes-int-or-string`.
 * @param root what the schema is called in errors, for example `Mesh.spec`
 * @param extra keys to set on the outermost node
 * @throws TulleError SchemaNotStructural, naming every field that has no description, or a construct that has no structural form
 */
export function structuralSchema(schema: z.ZodType, root: string, extra: StructuralSchema = {}): StructuralSchema {
  const json: unknown = z.toJSONSchema(schema, { target: 'openapi-3.0', io: 'input', reused: 'inline' });
  const undescribed: string[] = [];
  const result = structural({ ...asObject(json, root), ...extra }, root, undescribed);
  if (undescribed.length > 0) {
    throw new TulleError('SchemaNotStructural', `no description on ${undescribed.join(', ')}`, {
      fix: 'Add a description with .meta() last in the chain of that field.',
    });
  }
  return result;
}

function structural(node: StructuralSchema, path: string, undescribed: string[]): StructuralSchema {
  if (typeof node.description !== 'string' || node.description === '') undescribed.push(path);
  if (node['x-kubernetes-int-or-string'] === true) return intOrString(node, path);
  for (const key of ['anyOf', 'oneOf', 'allOf', 'not', '$ref']) {
    if (key in node) throw notStructural(path, `${key} has no structural form`);
  }
  const { additionalProperties, properties, items, ...rest } = node;
  const result: StructuralSchema = node.type === 'integer' ? integer(rest) : rest;
  if (node.format !== undefined) delete result.pattern;
  if (typeof result.pattern === 'string') result.pattern = result.pattern.replaceAll('\\/', '/');
  if (properties !== undefined) {
    result.properties = Object.fromEntries(
      Object.entries(asObject(properties, path)).map(([name, child]) => [
        name,
        structural(asObject(child, `${path}.${name}`), `${path}.${name}`, undescribed),
      ]),
    );
  }
  if (items !== undefined) result.items = structural(asObject(items, path), `${path}[]`, undescribed);
  if (additionalProperties !== undefined && additionalProperties !== false) {
    result.additionalProperties = structural(asObject(additionalProperties, path), `${path}.*`, undescribed);
  }
  return inReadingOrder(result);
}

/** What a reader asks first comes first; the order in zod's output is an accident. */
function inReadingOrder(node: StructuralSchema): StructuralSchema {
  const first = ['description', 'type', 'format', 'default', 'enum', 'required', 'x-kubernetes-validations'];
  const last = ['properties', 'additionalProperties', 'items'];
  const middle = Object.keys(node).filter((key) => !first.includes(key) && !last.includes(key));
  const keys = [...first, ...middle, ...last].filter((key) => key in node);
  return Object.fromEntries(keys.map((key) => [key, node[key]]));
}

/** Drops zod's JavaScript-safe bounds and names the width the API server decodes into. */
function integer(node: StructuralSchema): StructuralSchema {
  const { minimum, maximum, ...rest } = node;
  return {
    ...rest,
    format: 'int64',
    ...(minimum === Number.MIN_SAFE_INTEGER ? {} : { minimum }),
    ...(maximum === Number.MAX_SAFE_INTEGER ? {} : { maximum }),
  };
}

/** `anyOf [integer, string with a pattern]`: the pattern holds for the string form and moves up. */
function intOrString(node: StructuralSchema, path: string): StructuralSchema {
  const { anyOf, ...rest } = node;
  if (!Array.isArray(anyOf)) throw notStructural(path, 'int-or-string needs a union');
  const pattern = anyOf.map((part) => asObject(part, path).pattern).find((value) => value !== undefined);
  return { ...rest, ...(pattern === undefined ? {} : { pattern }) };
}

/** @throws TulleError SchemaNotStructural when it is none */
export function asObject(value: unknown, path: string): StructuralSchema {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw notStructural(path, 'expected a schema object');
  }
  return Object.fromEntries(Object.entries(value));
}

function notStructural(path: string, why: string): TulleError {
  return new TulleError('SchemaNotStructural', `${path}: ${why}`);
}
