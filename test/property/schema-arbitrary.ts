import fc from 'fast-check';
import type { Schema, Schemas } from '../lab/cluster/kubernetes-schemas.ts';

/** Values for properties of these names, where a schema tells less than the API wants; `Kind.name` goes before `name`. */
export type Words = Readonly<Record<string, fc.Arbitrary<unknown>>>;

export interface SchemaArbitraryOptions {
  readonly words: Words;
  /** Properties by kind that are needed, though the schema does not say so. */
  readonly needed: Readonly<Record<string, readonly string[]>>;
  /** Properties, `Kind.name`, that nobody may set. */
  readonly without: ReadonlySet<string>;
}

/** Of the properties that may be absent about this many are there: with all of them nothing would be valid. */
const PRESENT = 2;
const ITEMS_MAX = 2;
const TEXTS = ['a', 'app', 'example.com/thing', '/a/b', '1', '', 'Ünï \n~1"'];
/** The texts of formats that https://spec.openapis.org/registry/format/ and Kubernetes name. */
const OF_FORMAT: Words = {
  'date-time': fc.constantFrom('2026-01-02T03:04:05Z', '1970-01-01T00:00:00Z'),
  byte: fc.constantFrom('', 'bWlyb2ly'),
  'int-or-string': fc.oneof(fc.integer({ min: 0, max: 65_536 }), fc.constantFrom('http', '50%')),
};

/**
 * What a schema of Kubernetes' own API lets be written, of the kind with that name. Each kind is made once: the schema has to be one
 * without circles, as that of pods is.
 */
export function schemaArbitrary(schemas: Schemas, options: SchemaArbitraryOptions) {
  const made = new Map<string, fc.Arbitrary<unknown>>();

  function ofKind(name: string): fc.Arbitrary<unknown> {
    const known = made.get(name);
    if (known) return known;
    const arbitrary = ofSchema(schemas[name] ?? {}, kindOf(name));
    made.set(name, arbitrary);
    return arbitrary;
  }

  function ofSchema(schema: Schema, kind: string): fc.Arbitrary<unknown> {
    const referred = (schema.$ref ?? schema.allOf?.[0]?.$ref)?.split('/').at(-1);
    if (referred !== undefined) return ofKind(referred);
    if (schema.enum !== undefined) return fc.constantFrom(...schema.enum);
    const ofFormat = schema.format === undefined ? undefined : OF_FORMAT[schema.format];
    if (ofFormat) return ofFormat;
    if (schema.items) return listOf(ofSchema(schema.items, kind), schema['x-kubernetes-list-map-keys'] ?? []);
    if (schema.properties) return objectWith(schema, kind, []);
    if (schema.additionalProperties)
      return fc.dictionary(fc.constantFrom('a', 'app', 'example.com/b'), ofSchema(schema.additionalProperties, kind), {
        maxKeys: ITEMS_MAX,
      });
    if (schema.type === 'boolean') return fc.boolean();
    if (schema.type === 'integer' || schema.type === 'number')
      return fc.oneof(fc.integer({ min: 0, max: 100 }), fc.constantFrom(-1, 420, 65_535, 2_147_483_647));
    return fc.constantFrom(...TEXTS);
  }

  /** Some of the properties, those that are required among them, and those of `present`. */
  function objectWith(schema: Schema, kind: string, present: readonly string[]): fc.Arbitrary<object> {
    const required = new Set([...(schema.required ?? []), ...(options.needed[kind] ?? []), ...present]);
    const properties = Object.entries(schema.properties ?? {}).filter(
      ([name]) => !options.without.has(`${kind}.${name}`),
    );
    const absent = Math.max(1, Math.round((properties.length - required.size) / PRESENT) - 1);
    const model = Object.fromEntries(
      properties.map(([name, property]) => {
        const value = options.words[`${kind}.${name}`] ?? options.words[name] ?? ofSchema(property, kind);
        const optional = fc.oneof(
          { arbitrary: fc.constant(undefined), weight: absent },
          { arbitrary: value, weight: 1 },
        );
        return [name, required.has(name) ? value : optional];
      }),
    );
    return fc
      .record(model)
      .map((made) => Object.fromEntries(Object.entries(made).filter(([, it]) => it !== undefined)));
  }

  return {
    /** Of the kind, with these properties present. */
    object: (name: string, present: readonly string[] = []) => objectWith(schemas[name] ?? {}, kindOf(name), present),
    /** The names of all that may be present. */
    properties: (name: string) =>
      Object.keys(schemas[name]?.properties ?? {}).filter((one) => !options.without.has(`${kindOf(name)}.${one}`)),
  };
}

/** Items that are told apart by some of their properties are different in those. */
function listOf(item: fc.Arbitrary<unknown>, keys: readonly string[]): fc.Arbitrary<unknown> {
  const lengths = { minLength: 1, maxLength: ITEMS_MAX };
  if (keys.length === 0) return fc.array(item, lengths);
  const selector = (one: unknown) => JSON.stringify(keys.map((key) => (one as Record<string, unknown>)[key]));
  return fc.uniqueArray(item, { ...lengths, selector });
}

/** `io.k8s.api.core.v1.PodSpec` is a PodSpec. */
function kindOf(name: string): string {
  return name.split('.').at(-1) as string;
}
