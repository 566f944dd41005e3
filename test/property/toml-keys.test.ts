import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { parse } from 'smol-toml';
import { indexLines } from '../../containerd/verdict/toml-keys.ts';

/** A key as it is written, and as it is meant. */
const KEYS = [
  ['plain', 'plain'],
  ['"io.containerd.grpc.v1.cri"', 'io.containerd.grpc.v1.cri'],
  ["'single # quoted'", 'single # quoted'],
  ['"es\\"caped]"', 'es"caped]'],
  ['"\\u00fc"', 'ü'],
  ['"a=b"', 'a=b'],
  ['1234', '1234'],
] as const;

const VALUES = [
  'true',
  '"text # no comment"',
  '"""two\nlines\n[no.header]\nno = 1"""',
  "'''three\n\nlines'''",
  '[\n  "a", # comment ]\n  "b",\n]',
  '{ inner = 1, "x.y" = [1, 2] }',
  '1979-05-27T07:32:00Z',
] as const;

const NOISE = ['', '# a comment', '  # [no.header]', '\t', '# key = "value"'] as const;

interface Written {
  readonly text: string;
  readonly keys: readonly string[];
}

/** A table's lines: a header that occurs once, and statements whose keys occur once in it. */
const table = (index: number) =>
  fc
    .record({
      noise: fc.array(fc.constantFrom(...NOISE), { maxLength: 2 }),
      name: fc.constantFrom(...KEYS),
      isSpaced: fc.boolean(),
      statements: fc.uniqueArray(fc.tuple(fc.constantFrom(...KEYS), fc.constantFrom(...VALUES), fc.boolean()), {
        selector: ([[, key]]) => key,
        maxLength: 4,
      }),
    })
    .map(({ noise, name: [written, meant], isSpaced, statements }): readonly (Written | string)[] => {
      const keys = [`t${index}`, meant];
      const header = isSpaced ? ` [ t${index} . ${written} ] # end` : `[t${index}.${written}]`;
      return [
        ...noise,
        { text: header, keys },
        ...statements.map(([[key, keyMeant], value, isDotted]) => ({
          text: isDotted ? `  ${key} . dotted = ${value}` : `${key} = ${value}`,
          keys: [...keys, keyMeant, ...(isDotted ? ['dotted'] : [])],
        })),
      ];
    });

const documents = fc
  .tuple(fc.array(fc.nat(), { maxLength: 4 }), fc.constantFrom('\n', '\r\n'))
  .chain(([tables, eol]) =>
    fc.tuple(...tables.map((_, index) => table(index))).map((all) => ({ parts: all.flat(), eol })),
  );

test('every key of a document is found on the line where its statement begins', () => {
  fc.assert(
    fc.property(documents, ({ parts, eol }) => {
      const lines: { readonly keys: readonly string[]; readonly line: number }[] = [];
      let text = '';
      for (const part of parts) {
        if (typeof part !== 'string') lines.push({ keys: part.keys, line: text.split('\n').length });
        text += `${typeof part === 'string' ? part : part.text}${eol}`;
      }
      parse(text);

      const lineOf = indexLines(text);

      for (const { keys, line } of lines) assert.equal(lineOf(keys), line, JSON.stringify(keys));
    }),
    { numRuns: 500 },
  );
});

test('a key inside an inline table has the line of its statement, and one that is not there that of the table around', () => {
  const lineOf = indexLines('# one\n[a]\nb = { c = 1,\n  d = 2 }\n');

  assert.deepEqual(
    [['a'], ['a', 'b'], ['a', 'b', 'd'], ['a', 'x'], ['y']].map((keys) => lineOf(keys)),
    [2, 3, 3, 2, undefined],
  );
});

test('a table that has no header of its own has the line of the first that names it', () => {
  const lineOf = indexLines('[x]\n[a.b]\nc.d = 1\n[a.e]\n');

  assert.deepEqual([lineOf(['a']), lineOf(['a', 'b', 'c'])], [2, 3]);
});
