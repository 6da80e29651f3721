import { Command } from 'commander';
import { columnsOf, tableLines } from '../../analysis/render/table.ts';
import { DEFAULT_CONTROL, FaultControl, type ShownProxy, type ShownToxic } from '../../app/fault-control.ts';
import { FAULTS_OPTIONS, resolveFaultsOptions, startFaults } from '../../app/fault-relay.ts';
import { AppError } from '../../core/errors.ts';
import { choice, text, toggle, value } from '../../core/options.ts';
import { parseShare } from '../../core/units.ts';
import { TOXIC_STREAMS, TOXIC_TYPES } from '../../documents/faults.ts';
import { loggerOf } from '../logger.ts';
import { addOptions, askedOf, optionsOf } from '../options.ts';
import { interruptible } from '../signals.ts';
import { terminal } from '../terminal.ts';

const CONTROL_OPTIONS = {
  control: text('--control <address>', 'address of the control API', { default: DEFAULT_CONTROL }),
};
const LIST_OPTIONS = { ...CONTROL_OPTIONS, json: toggle('--json', 'print one JSON document') };
const ADD_OPTIONS = {
  ...CONTROL_OPTIONS,
  name: text('--name <name>', 'name of the fault (default: TYPE_STREAM)'),
  stream: choice(
    '--stream <direction>',
    'upstream: what clients send; downstream: what the dependency sends',
    TOXIC_STREAMS,
    { default: 'downstream' },
  ),
  toxicity: value('--toxicity <share>', 'share of connections that it is on', parseShare, { default: '1' }),
};

/** `reprise faults`: a relay that makes a dependency fail, and the commands that control it. */
export function faultsCommand(): Command {
  const command = new Command('faults').description(
    'Relay between a server and its dependencies. It can delay or cut their traffic, refuse connections and answer errors. ' +
      'Its control API is that of Toxiproxy. Stop with Ctrl-C or SIGTERM.',
  );
  return addOptions(command, FAULTS_OPTIONS)
    .enablePositionalOptions()
    .action(async (_: object, own: Command) => {
      const options = resolveFaultsOptions(askedOf(own, FAULTS_OPTIONS));
      const logger = loggerOf(own);
      await interruptible(async ({ signal }) => {
        const running = await startFaults(options, logger);
        for (const proxy of running.proxies) logger.info(proxy, 'relaying');
        logger.info({ control: running.control }, 'the control API answers');
        await new Promise((resolve) => {
          if (signal.aborted) resolve(null);
          signal.addEventListener('abort', resolve, { once: true });
        });
        await running.stop();
        logger.info({}, 'stopped');
      });
    })
    .addCommand(listCommand())
    .addCommand(addCommand())
    .addCommand(removeCommand())
    .addCommand(resetCommand());
}

function listCommand(): Command {
  return addOptions(new Command('list'), LIST_OPTIONS)
    .description('show the proxies of a relay and the faults that are on')
    .action(async (_: object, own: Command) => {
      const { control, json } = optionsOf(own, LIST_OPTIONS);
      const proxies = await new FaultControl(control).proxies();
      if (json) terminal.json({ schema: 'reprise-faults/1', proxies });
      else terminal.print(...listLines(proxies));
    });
}

function addCommand(): Command {
  return addOptions(new Command('add'), ADD_OPTIONS)
    .description(`begin a fault: ${TOXIC_TYPES.join(', ')}, or down`)
    .argument('<proxy>', 'name of a proxy of the relay')
    .argument('<type>', 'what fails')
    .argument('[attributes...]', 'such as latency=300 jitter=50')
    .action(async (proxy: string, type: string, stated: string[], _: object, own: Command) => {
      const { control, name, stream, toxicity } = optionsOf(own, ADD_OPTIONS);
      const relay = new FaultControl(control);
      if (type === 'down') {
        await relay.enable(proxy, false);
        terminal.print(`${proxy} is down; reprise faults remove ${proxy} down ends it`);
        return;
      }
      const attributes = Object.fromEntries(stated.map(attributeOf));
      const added = await relay.add(proxy, {
        type,
        stream,
        toxicity,
        attributes,
        ...(name !== null && { name }),
      });
      terminal.print(`${proxy}: ${faultText(added)}`);
    });
}

function removeCommand(): Command {
  return addOptions(new Command('remove'), CONTROL_OPTIONS)
    .description('end a fault')
    .argument('<proxy>', 'name of a proxy of the relay')
    .argument('<fault>', 'name of the fault, or down')
    .action(async (proxy: string, fault: string, _: object, own: Command) => {
      const relay = new FaultControl(optionsOf(own, CONTROL_OPTIONS).control);
      if (fault === 'down') await relay.enable(proxy, true);
      else await relay.remove(proxy, fault);
      terminal.print(`${proxy}: ${fault} is over`);
    });
}

function resetCommand(): Command {
  return addOptions(new Command('reset'), CONTROL_OPTIONS)
    .description('end every fault of a relay')
    .action(async (_: object, own: Command) => {
      await new FaultControl(optionsOf(own, CONTROL_OPTIONS).control).reset();
      terminal.print('every fault is over');
    });
}

/** Parses `latency=300`. A value that is no number is text. */
function attributeOf(stated: string): [string, unknown] {
  const at = stated.indexOf('=');
  if (at < 1) {
    throw new AppError('OPTION_INVALID', `${JSON.stringify(stated)} is no attribute`, {
      hint: 'Write NAME=VALUE, such as latency=300.',
    });
  }
  const given = stated.slice(at + 1);
  return [stated.slice(0, at), given !== '' && Number.isFinite(Number(given)) ? Number(given) : given];
}

function listLines(proxies: readonly ShownProxy[]): string[] {
  const rows = proxies.map(({ name, listen, upstream, enabled, toxics }) => [
    name,
    listen,
    upstream,
    enabled ? toxics.map(faultText).join('; ') || 'none' : 'down',
  ]);
  return tableLines(columnsOf(['proxy', 'listen', 'upstream', 'faults'], []), rows);
}

function faultText({ name, type, stream, toxicity, attributes }: ShownToxic): string {
  const terms = Object.entries(attributes).map(([key, set]) => `${key}=${set}`);
  const share = toxicity === 1 ? [] : [`toxicity=${toxicity}`];
  return [`${name} (${type}, ${stream})`, ...terms, ...share].join(' ');
}
