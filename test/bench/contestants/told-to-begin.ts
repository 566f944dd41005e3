/** For a command that begins together with others: says that it is ready, and resolves when its input ends. */
export async function toldToBegin(): Promise<void> {
  process.stdout.write('ready\n');
  for await (const _ of process.stdin);
}
