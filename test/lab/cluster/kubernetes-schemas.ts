import fs from 'node:fs';
import path from 'node:path';
import { fetchModuleFolder } from '../go-module.ts';

interface Named {
  readonly apiVersion: string;
  readonly kind: string;
}

/** A part of https://spec.openapis.org/oas/v3.0.3#schema-object, as Kubernetes uses it. */
export interface Schema {
  readonly $ref?: string;
  readonly allOf?: readonly Schema[];
  readonly oneOf?: readonly Schema[];
  readonly type?: string;
  readonly format?: string;
  readonly enum?: readonly unknown[];
  readonly items?: Schema;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly additionalProperties?: Schema;
  readonly required?: readonly string[];
  /** By which items of a list are told apart. */
  readonly 'x-kubernetes-list-map-keys'?: readonly string[];
  readonly 'x-kubernetes-group-version-kind'?: readonly {
    readonly group: string;
    readonly version: string;
    readonly kind: string;
  }[];
}

export type Schemas = Readonly<Record<string, Schema>>;

/** Fetches what a version of Kubernetes says of its API, from its own Go module; the second time it is there. */
export function fetchSchemas(version: string, signal: AbortSignal): Promise<string> {
  const from = { module: `k8s.io/kubernetes@v${version}`, folder: 'api/openapi-spec/v3' };
  return fetchModuleFolder(`schemas-${version}`, from, signal);
}

/** What is wrong with a manifest by the schemas of `folder`: fields that are not known, values of the wrong type. */
export function problemsOf(manifest: Named, folder: string): readonly string[] {
  const { apiVersion, kind } = manifest;
  const [version, group = ''] = apiVersion.split('/').toReversed();
  const file = `${group === '' ? 'api' : 'apis'}__${apiVersion.replace('/', '__')}_openapi.json`;
  const text = fs.readFileSync(path.join(folder, file), 'utf8');
  const { schemas } = (JSON.parse(text) as { readonly components: { readonly schemas: Schemas } }).components;
  const root = Object.entries(schemas).find(
    ([name, schema]) =>
      name.endsWith(`.${kind}`) &&
      schema['x-kubernetes-group-version-kind']?.some(
        (of) => of.group === group && of.version === version && of.kind === kind,
      ),
  );
  return root === undefined ? [`${apiVersion} has no ${kind}`] : [...check(manifest, root[1], kind, schemas)];
}

function* check(value: unknown, schema: Schema, at: string, schemas: Schemas): Generator<string> {
  const referred = schema.$ref?.split('/').at(-1);
  if (referred !== undefined) yield* check(value, schemas[referred] ?? {}, at, schemas);
  for (const part of schema.allOf ?? []) yield* check(value, part, at, schemas);
  // What remains of oneOf is numbers that may be texts: quantities, ports, percentages.
  if (schema.oneOf !== undefined || schema.type === undefined || value === null) return;
  if (schema.enum !== undefined && !schema.enum.includes(value)) yield `${at} is none of ${schema.enum.join(', ')}`;
  const found = Array.isArray(value)
    ? 'array'
    : Number.isInteger(value) && schema.type === 'integer'
      ? 'integer'
      : typeof value;
  if (found !== schema.type) yield `${at} is no ${schema.type}`;
  else if (Array.isArray(value))
    for (const [index, item] of value.entries()) yield* check(item, schema.items ?? {}, `${at}[${index}]`, schemas);
  else if (typeof value === 'object')
    yield* checkFields(value as Readonly<Record<string, unknown>>, schema, at, schemas);
}

function* checkFields(
  value: Readonly<Record<string, unknown>>,
  schema: Schema,
  at: string,
  schemas: Schemas,
): Generator<string> {
  for (const name of schema.required ?? []) if (!(name in value)) yield `${at} lacks ${name}`;
  for (const [name, field] of Object.entries(value)) {
    const known = schema.properties?.[name] ?? schema.additionalProperties;
    if (known === undefined) yield `${at}.${name} is not known`;
    else yield* check(field, known, `${at}.${name}`, schemas);
  }
}
