/* Model families: HTH_FAMILY(name) needs `const struct hth_family hth_family_<name>` in <name>.c. */
HTH_FAMILY(llama)
