import { once } from 'node:events';
import { Command } from 'commander';
import { GATE_OPTIONS, resolveGateOptions, startGate } from '../../app/gate/gate.ts';
import { resolveScenario, scenarioCommands } from '../config/scenario.ts';
import { loggerOf } from '../logger.ts';
import { addOptions, askedOf } from '../options.ts';
import type { CommandEntry } from '../program.ts';
import { interruptible } from '../signals.ts';

/** `reprise gate --serve`: named tests for deployment controllers. */
export function gateCommand(entries: readonly CommandEntry[]): Command {
  return addOptions(new Command('gate'), GATE_OPTIONS)
    .description(
      'Answer Argo Rollouts and Flagger whether a deployment may go on: run the test they name, once for ' +
        'each deployment. Stop with Ctrl-C or SIGTERM.',
    )
    .action(async (_: object, command: Command) => {
      const options = resolveGateOptions(askedOf(command, GATE_OPTIONS));
      const commands = await scenarioCommands(entries);
      // Checks the files now, so that a mistake is not found while a deployment waits.
      for (const file of options.scenarios.values())
        resolveScenario({ file, stated: {}, sets: [] }, commands);
      const logger = loggerOf(command);
      await interruptible(async ({ signal }) => {
        const gate = await startGate(options, thisProgram(command), logger);
        logger.info({ address: gate.address, scenarios: [...options.scenarios.keys()] }, 'the gate answers');
        if (!signal.aborted) await once(signal, 'abort');
        await gate.stop();
        logger.info({}, 'stopped');
      });
    });
}

/** The command line that runs this program again with the same configuration. */
function thisProgram(command: Command): string[] {
  const { config } = command.optsWithGlobals<{ config?: string }>();
  return [
    ...[process.execPath, process.argv[1] ?? ''],
    ...(config === undefined ? [] : [`--config=${config}`]),
  ];
}
