import fs from 'node:fs';
import path from 'node:path';
import { isMap, isScalar, parseDocument, type YAMLMap } from 'yaml';

const VALUES = path.join(import.meta.dirname, '../charts/miroir/values.yaml');

const INTRODUCTION = `# Miroir's chart

<!-- Made by \`npm run docs\` from values.yaml; a test compares them. -->

\`\`\`sh
helm install miroir charts/miroir --namespace miroir --create-namespace --set image.repository=registry.example/miroir
\`\`\`

[Install on Kubernetes](../../docs/guides/install.md) says what it needs, and what to do next. A value that does not exist, or is of
the wrong kind, is refused with its name.

| Value | Default | |
|---|---|---|
`;

interface Row {
  readonly name: string;
  readonly value: unknown;
  readonly comment: string;
}

/** The chart's README. Throws when a value has no comment. */
export function chartPage(): string {
  const { contents } = parseDocument(fs.readFileSync(VALUES, 'utf8'));
  if (!isMap(contents)) throw new Error('values.yaml is no mapping');
  const rows = [...readRows(contents, '')];
  const lines = rows.map(({ name, value, comment }) => {
    if (comment === '') throw new Error(`${name} has no comment in values.yaml`);
    return `| \`${name}\` | \`${JSON.stringify(value)}\` | ${comment.replaceAll('|', '\\|')} |\n`;
  });
  return INTRODUCTION + lines.join('');
}

/** A mapping whose comments are about what is in it is a folder of values; any other is a value. */
function* readRows(map: YAMLMap, prefix: string): Generator<Row> {
  for (const [index, pair] of map.items.entries()) {
    const { key, value } = pair;
    if (!isScalar(key)) throw new Error(`${prefix} has a key that is no text`);
    const name = `${prefix}${String(key.value)}`;
    // YAML's parser gives the comment before the first key to the mapping itself.
    const comment = (index === 0 && prefix !== '' ? map.commentBefore : key.commentBefore) ?? '';
    if (isMap(value) && value.items.length > 0 && comment === '') yield* readRows(value, `${name}.`);
    else {
      const json = isMap(value) || !isScalar(value) ? (value as YAMLMap).toJSON() : value.value;
      yield {
        name,
        value: json,
        comment: comment
          .split('\n')
          .map((line) => line.trim())
          .join(' '),
      };
    }
  }
}
