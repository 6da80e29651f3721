import { testWriterFaults } from '../support/writer-fault-cases.ts';

testWriterFaults([]);
