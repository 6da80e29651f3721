import { Command } from 'commander';
import type { ProfileDocument } from '../analysis/profile/profile-document.ts';
import { writeOutputs } from './document-outputs.ts';
import { documentFromThread } from './document-thread.ts';
import { type EncryptionFlag, encryptionKeyOf, encryptionKeyOption } from './encryption-flag.ts';
import { PROFILE_DEFAULTS, type RawProfileOptions, resolveProfileOptions } from './profile-options.ts';
import { profileForms } from './profile-output.ts';
import type { ProfileRequest } from './profiling.ts';
import { addSelectionFlags, addStretchFlags } from './replay-window-flags.ts';
import { terminal } from './terminal.ts';

/** `reprise profile DIR`: the traffic of a capture in numbers. */
export function profileCommand(): Command {
  const command = new Command('profile')
    .description('Describe the traffic of a capture in numbers: no payload and no secret is in them.')
    .argument('<capture>', 'the directory of a capture')
    .option('--json', 'print one JSON document')
    .option('--html [file]', 'write one self-contained page; without a file, print it')
    .option('--csv [file]', 'write the numbers as a table; without a file, print it')
    .option('--share', 'leave out names that could identify clients')
    .option(
      '--payload-sample <n>',
      'look into so many payloads at most, evenly spread; 0 for none, or all',
      PROFILE_DEFAULTS.payloadSample,
    )
    .addOption(encryptionKeyOption('file with the key of an encrypted capture, to look into its payloads'));
  addStretchFlags(command, 'profile');
  return addSelectionFlags(command, 'profile').action(
    async (directory: string, flags: RawProfileOptions & EncryptionFlag) => {
      await profile(directory, flags);
    },
  );
}

async function profile(directory: string, flags: RawProfileOptions & EncryptionFlag): Promise<void> {
  const options = resolveProfileOptions(flags);
  // A key that is no key is refused here as everywhere.
  encryptionKeyOf(flags);
  const encryptionKeyFile = flags.encryptionKeyFile ?? null;
  const request: ProfileRequest = { directory, encryptionKeyFile, options };
  const document = await documentFromThread<ProfileDocument>('profiler', request);
  writeOutputs(profileForms(document), options.outputs, terminal);
}
