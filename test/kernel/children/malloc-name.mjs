/** Prints which malloc the addon found, as the last line. */
import { addon } from '../../fixtures/addon.mjs'

console.log(addon.mallocName())
