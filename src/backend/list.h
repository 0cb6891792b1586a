/* Backends in order of preference where nothing was asked for: HTH_BACKEND(name) needs hth_backend_<name>. */
HTH_BACKEND(cpu)
HTH_BACKEND(ref)
