import fc from 'fast-check';

/** Anything that may stand in a certs.d: a folder is a record of what is in it, a file is its text. */
export type Tree = { readonly [name: string]: string | Tree };

const ESCAPES = ['plain', 'with space', 'q\\"uote', 'back\\\\slash', 'nü', '# no comment', '[host.x]', '\\u00e9'];
const text = fc.constantFrom(...ESCAPES).map((inner) => `"${inner}"`);
const literal = fc.constantFrom(
  `'literal # [x]'`,
  `'''long\n[host."http://in.string"]\n# miroir'''`,
  `"""a\n""b\\""""`,
);
const path = fc.constantFrom('"/etc/ssl/corp.pem"', '"corp.pem"', `'/a b/c.pem'`);
const comment = fc.constantFrom('# a comment', '#', '# [host."x"]', '#miroir', '# "unbalanced \'');
const blank = fc.constantFrom('', '  ', '\t');
const note = fc.option(comment, { nil: '' }).map((it) => (it === '' ? '' : ` ${it}`));

const settings = fc
  .record(
    {
      ca: fc.oneof(
        path,
        fc.array(path, { maxLength: 2 }).map((paths) => `[${paths.join(', ')}]`),
      ),
      client: fc.constantFrom('[["a.cert", "a.key"]]', '[\n  "a.pem", # one\n  "b.pem",\n]', '"c.pem"'),
      skip_verify: fc.constantFrom('true', 'false'),
      override_path: fc.constantFrom('true', 'false'),
      capabilities: fc.constantFrom('["pull"]', '["pull", "resolve", "push"]', '["resolve",\n"pull"]'),
      unknown_key: fc.oneof(text, literal, fc.constantFrom('1979-05-27T07:32:00Z', '0x1F', '{ a = [1, 2] }', '3.5e2')),
    },
    { requiredKeys: [] },
  )
  .chain((known) =>
    fc
      .tuple(...Object.entries(known).map(([key, value]) => note.map((it) => `${key} = ${value}${it}`)))
      .map((lines) => lines),
  );

const header = fc.constantFrom(
  (prefix: string) => [`[${prefix}header]`, 'X-Team = ["a", "b"]', '"x-dotted.name" = "v"'],
  () => [],
);
const inlineHeader = fc.constantFrom(['header = { "X-A" = ["1"], X-B = "2" }'], ['header.X-C = "3"'], []);

const host = (url: string) =>
  fc
    .tuple(fc.option(comment, { nil: undefined }), settings, fc.boolean(), header, inlineHeader, blank)
    .map(([above, lines, usesTable, table, inline, gap]) => [
      gap,
      ...(above === undefined ? [] : [above]),
      `[host."${url}"]`,
      ...lines.map((line) => `  ${line}`),
      ...(usesTable ? table(`host."${url}".`) : inline),
    ]);

const hosts = fc
  .subarray([
    'https://cache.corp:8443',
    'http://10.0.0.9',
    'https://mirror.example/v2/x',
    'https://registry-1.docker.io',
  ])
  .chain((urls) => fc.shuffledSubarray(urls, { minLength: urls.length }))
  .chain((urls) => fc.tuple(...urls.map(host)));

/** A valid hosts.toml, as people write them. */
export const hostsToml: fc.Arbitrary<string> = fc
  .tuple(
    fc.array(fc.oneof(comment, blank), { maxLength: 3 }),
    fc.option(
      fc.constantFrom('https://registry-1.docker.io', 'https://up.example/v2', 'http://10.1.1.1:5000', 'up.example'),
      { nil: undefined },
    ),
    settings,
    inlineHeader,
    hosts,
    fc.array(fc.oneof(comment, blank), { maxLength: 2 }),
    fc.constantFrom('\n', '\r\n'),
    fc.boolean(),
  )
  .map(([above, server, root, inline, tables, below, eol, endsWithNewline]) => {
    const lines = [
      ...above,
      ...(server === undefined ? [] : [`server = "${server}"`]),
      ...root,
      ...inline,
      ...tables.flat(),
      ...below,
    ];
    const all = lines.join('\n').replaceAll('\n', eol);
    return all !== '' && endsWithNewline ? all + eol : all;
  });

const folderNames = [
  '_default',
  'docker.io',
  'registry.example',
  'localhost:5000',
  'reg.example_5000_',
  'not a registry',
  '[::1]:5000',
];

const folder: fc.Arbitrary<Tree> = fc
  .record(
    {
      'hosts.toml': hostsToml,
      'ca.crt': fc.constant('certificate'),
      'client.cert': fc.constant('certificate'),
      'client.key': fc.constant('key'),
      'README.md': fc.constant('foreign'),
      'hosts.toml.bak': fc.constant('not = [toml'),
      nested: fc.constant({ 'hosts.toml': 'also not = [toml', empty: {} }),
    },
    { requiredKeys: [] },
  )
  .map((entries) => ({ ...entries }));

/** A whole certs.d; undefined when there is none. */
export const certsTree: fc.Arbitrary<Tree | undefined> = fc.option(
  fc
    .tuple(...folderNames.map((name) => fc.option(folder, { nil: undefined }).map((it) => [name, it] as const)))
    .map((entries) => Object.fromEntries(entries.filter(([, it]) => it !== undefined)) as Tree)
    .chain((tree) => fc.boolean().map((hasFile) => (hasFile ? { ...tree, 'stray.txt': 'stray' } : tree))),
  { nil: undefined },
);
