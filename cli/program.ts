import { Command, CommanderError } from 'commander';
import { loadConfig } from '../common/config/load.ts';
import type { CommandName } from '../common/config/setting.ts';
import type { ConfigOf } from '../common/config/settings.ts';
import { MiroirError } from '../common/errors.ts';
import { collectedFlags, FLAGS_EPILOGUE, OPTION_STYLE, optionsOf, withoutValuesOfUnknownFlags } from './flags.ts';
import { explainError } from './start-error.ts';
import { describeVersion } from './version.ts';

/** The world outside, for main.ts to fill in and for tests to fake. */
export interface ProgramDeps {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly readFile: (path: string) => Promise<string>;
  readonly stdout: (text: string) => void;
  readonly stderr: (text: string) => void;
  /** The width of the terminal, where there is one. */
  readonly columns: number | undefined;
}

/** All went well. */
export const EXIT_OK = 0;
/** A fault: an error that nobody foresaw. */
export const EXIT_FAULT = 1;
/** Something that the person who started it can mend: a flag, a port, a socket, a key. */
export const EXIT_MISTAKE = 2;

/** For files and pipes; a terminal says its own width. */
const HELP_COLUMNS = 100;

const DESCRIPTION =
  "Shares the images that nodes have already pulled: each node's containerd asks its mirror first, and the mirror " +
  'fetches from the other nodes. What nobody has comes from the registry, as always.';

/** Runs one command to its end and resolves to the exit code. Only faults are thrown. `signal` asks it to stop. */
export async function runProgram(deps: ProgramDeps, args: readonly string[], signal: AbortSignal): Promise<number> {
  try {
    return await dispatch(deps, args, signal);
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT_OK : EXIT_MISTAKE; // It printed why.
    if (!(error instanceof MiroirError)) throw error;
    deps.stderr(`miroir: ${explainError(error)}\n`);
    return EXIT_MISTAKE;
  }
}

async function dispatch(deps: ProgramDeps, args: readonly string[], signal: AbortSignal): Promise<number> {
  let exitCode = EXIT_OK;
  const program = new Command('miroir')
    .description(DESCRIPTION)
    .version(describeVersion(), '--version', 'Print the version')
    .helpOption('-h, --help', 'Print help')
    .helpCommand('help [command]', 'Print help about a command')
    .exitOverride()
    .configureHelp({ ...OPTION_STYLE, helpWidth: deps.columns ?? HELP_COLUMNS })
    .configureOutput({ writeOut: deps.stdout, writeErr: deps.stderr });

  function add<C extends CommandName>(
    name: C,
    description: string,
    run: (config: ConfigOf<C>, options: Readonly<Record<string, unknown>>, operand: string) => Promise<number>,
    /** What must follow the command besides flags, as in `<image>`. */
    operand?: string,
  ): Command {
    const command = program
      .command(name)
      .description(description)
      .helpOption('-h, --help', 'Print help')
      // Unknown flags are reported by loadConfig, together with everything else that is wrong.
      .allowUnknownOption()
      .allowExcessArguments()
      .addHelpText('after', FLAGS_EPILOGUE)
      .action(async (...given: unknown[]) => {
        const operands = operand === undefined ? 0 : 1;
        const options = given[operands] as Readonly<Record<string, unknown>>;
        const config = await loadConfig(name, {
          flags: collectedFlags(name, options),
          unknownArguments: withoutValuesOfUnknownFlags(command.args.slice(operands)),
          env: deps.env,
          readFile: deps.readFile,
        });
        exitCode = await run(config, options, String(given[0]));
      });
    if (operand !== undefined) command.argument(operand);
    for (const option of optionsOf(name)) command.addOption(option);
    return command;
  }

  // What a command needs is imported when it runs: help is instant, and the mirror's memory holds the mirror alone.
  add('mirror', "Run this node's mirror until it is told to stop", async (config) => {
    const { runMirror } = await import('./mirror-command.ts');
    return runMirror(deps, config, signal);
  });
  add('webhook', 'Answer what Kubernetes asks about new pods until it is told to stop', async (config) => {
    const { runWebhook } = await import('./webhook-command.ts');
    return runWebhook(deps, config, signal);
  });
  add('agent', "Give the programs of a pod what its node's mirror has, until it is told to stop", async (config) => {
    const { runAgent } = await import('./agent-command.ts');
    return runAgent(deps, config, signal);
  });
  add('configure', 'Make containerd ask the mirror first: merge it into hosts.toml files', async (config, options) => {
    const { runConfigure } = await import('./certs-commands.ts');
    await runConfigure(deps, config, options['json'] === true);
    return EXIT_OK;
  }).option('--json', 'Print what was done as JSON');
  add('cleanup', 'Take out of hosts.toml files what configure put there', async (config, options) => {
    const { runCleanup } = await import('./certs-commands.ts');
    await runCleanup(deps, config, options['json'] === true);
    return EXIT_OK;
  }).option('--json', 'Print what was done as JSON');
  add(
    'check',
    "Tell whether this node's containerd asks a mirror and keeps layers, why not, and the fix",
    async (config, options) => {
      const { runCheck } = await import('./check-command.ts');
      return runCheck(deps, config, options['json'] === true, signal);
    },
  ).option('--json', 'Print the verdict as JSON');
  add(
    'status',
    'Tell how the mirrors of a cluster are, and what they spared its registries',
    async (config, options) => {
      const { runStatus } = await import('./status-command.ts');
      return runStatus(deps, config, options['json'] === true, signal);
    },
  ).option('--json', 'Print what each mirror says as JSON');
  add(
    'verify',
    "Tell whether this node's mirror has an image, from where, and how fast",
    async (config, options, image) => {
      const { runVerify } = await import('./verify-command.ts');
      return runVerify(deps, { image, address: config.registryAddress }, options['json'] === true, signal);
    },
    '<image>',
  ).option('--json', 'Print what was found as JSON');
  add(
    'uninstall',
    'Let pods go, and take off nodes, what the webhook wrote: before it is uninstalled',
    async (config) => {
      const { runUninstall } = await import('./uninstall-command.ts');
      return runUninstall(deps, config, signal);
    },
  );
  program
    .command('version')
    .description('Print the version')
    .action(() => deps.stdout(`miroir ${describeVersion()}\n`));

  await program.parseAsync(args, { from: 'user' });
  return exitCode;
}
