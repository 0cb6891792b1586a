# hearth's build. GNU make 3.81 and POSIX sh are enough (a Mac has no more).
#
#   make            build/hearth
#   make test       install what is missing, build, run every test that needs no GPU and no big download
#   make check      + sanitizers, fuzz seconds, the real SmolLM2 model end to end
#   make interop    peers from PyPI against our files          make bench   ratios against peers
#   make demo       from a fresh machine to a tuned model      make install PREFIX=/usr/local
#   make layers     a folder includes only folders above it    make size    lines per folder
#
# Each folder of src/ is one static archive, linked in layer order: a test of a folder links that folder and the
# ones above it in LAYERS, nothing else, so the layering holds at link time too.

CC      ?= cc
AR      ?= ar
BUILD   ?= build
PREFIX  ?= /usr/local
OPT     ?= -O2 -g
WERROR  ?=
SAN     ?=
LAYERS  := base hub quant formats text kernels tensor backend ops models data infer train plan eval export serve cmd

UNAME_S := $(shell uname -s)
UNAME_M := $(shell uname -m)
PKGS    := jansson yaml-0.1 libpcre2-8 libutf8proc libmicrohttpd libcurl libedit libxxhash
PKG_CFLAGS := $(shell pkg-config --cflags $(PKGS) 2>/dev/null)
PKG_LIBS   := $(shell pkg-config --libs $(PKGS) 2>/dev/null)
VERSION := $(shell cat VERSION)
# A number of jobs without nproc, which a Mac lacks.
JOBS    ?= $(shell getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)

WARN    := -Wall -Wextra -Wshadow -Wconversion -Wno-sign-conversion -Wvla -Wmissing-prototypes -Wstrict-prototypes
# gcc's manual says that its flow-sensitive warnings err under -fsanitize: there they are shown, and do not stop.
ifneq ($(WERROR)$(CI),)
ifeq ($(SAN),)
WARN    += -Werror
endif
endif
CFLAGS_ALL = -std=c17 $(OPT) $(SAN) $(WARN) -D_GNU_SOURCE -DHTH_VERSION='"$(VERSION)"' -Isrc -I$(BUILD)/gen $(PKG_CFLAGS) -pthread -fno-math-errno -ffp-contract=off $(CFLAGS)
LIBS    := $(PKG_LIBS) -lm -lpthread

# Kernel files for one instruction set: the only objects built with its flags.
ifeq ($(UNAME_M),x86_64)
ISA_avx2   := -mavx2 -mfma -mf16c -ffp-contract=fast
ISA_v3     := -mavx2 -mf16c
ISA_avx512 := -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx2 -mfma -mf16c -ffp-contract=fast
ISA_avx512vnni := $(ISA_avx512) -mavx512vnni
ISA_vnni   := $(ISA_avx512) -mavx512vnni -mavx512bf16
ISA_bf16   := $(ISA_avx512) -mavx512bf16
ISA_amx    := $(ISA_avx512) -mamx-tile -mamx-bf16 -mamx-int8 -mavx512bf16
endif
# A Mac's compiler has the first by default.
ifeq ($(UNAME_M),aarch64)
ISA_dotprod := -march=armv8.2-a+dotprod
endif
ifneq ($(filter aarch64 arm64,$(UNAME_M)),)
ISA_i8mm    := -march=armv8.2-a+dotprod+i8mm
ISA_bf16    := -march=armv8.2-a+dotprod+bf16
endif

SRCS     := $(foreach l,$(LAYERS),$(wildcard src/$(l)/*.c) $(wildcard src/$(l)/*/*.c))
LIB_SRCS := $(filter-out src/cmd/main.c,$(SRCS))
objs_of   = $(patsubst src/%.c,$(BUILD)/obj/%.o,$(filter src/$(1)/%,$(LIB_SRCS)))
ARCHIVES := $(foreach l,$(LAYERS),$(if $(call objs_of,$(l)),$(BUILD)/lib/$(l).a))
# The archives a layer's tests may link: the layer itself and those before it, highest first.
reverse   = $(if $(1),$(call reverse,$(wordlist 2,$(words $(1)),$(1))) $(firstword $(1)))
upto      = $(if $(1),$(firstword $(1)) $(if $(filter $(2),$(firstword $(1))),,$(call upto,$(wordlist 2,$(words $(1)),$(1)),$(2))))
# train and infer are peers: each links the other's archive only from above.
libs_for  = $(filter $(ARCHIVES),$(patsubst %,$(BUILD)/lib/%.a,$(call reverse,$(call upto,$(LAYERS),$(1)))))

TEST_SRCS := $(foreach l,$(LAYERS),$(wildcard tests/$(l)/test_*.c))
TESTS     := $(patsubst tests/%.c,$(BUILD)/tests/%,$(TEST_SRCS))

all: $(BUILD)/hearth

$(BUILD)/hearth: $(BUILD)/obj/cmd/main.o $(ARCHIVES)
	@mkdir -p $(@D)
	$(CC) $(SAN) -o $@ $(BUILD)/obj/cmd/main.o $(call reverse,$(ARCHIVES)) $(LIBS) $(LDFLAGS)

isa_of = $(ISA_$(lastword $(subst _, ,$(basename $(notdir $(1))))))
$(BUILD)/obj/%.o: src/%.c Makefile VERSION
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) $(if $(filter src/kernels/%,$<),$(call isa_of,$<)) -MMD -MP -c -o $@ $<

define archive_rule
$(BUILD)/lib/$(1).a: $(call objs_of,$(1))
	@mkdir -p $$(@D)
	@rm -f $$@
	$(AR) rcs $$@ $$^
endef
$(foreach l,$(LAYERS),$(eval $(call archive_rule,$(l))))

define test_rule
$(BUILD)/tests/$(1)/%: tests/$(1)/%.c $(call libs_for,$(1)) tests/support.h
	@mkdir -p $$(@D)
	$(CC) $(CFLAGS_ALL) -Itests -MMD -MP -MF $$@.d -o $$@ $$< $(call libs_for,$(1)) -lcmocka $(LIBS) $(LDFLAGS)
endef
$(foreach l,$(LAYERS),$(eval $(call test_rule,$(l))))

SCRIPTS   := $(sort $(wildcard tests/e2e/*.sh)) $(wildcard tests/kernels/*.sh)
MODEL     := models/SmolLM2-135M-Instruct.Q4_1.gguf

tests: $(TESTS) $(BUILD)/hearth $(BUILD)/tests/corpus/make_corpus $(BUILD)/tests/corpus/serve_listing

# What tests/e2e/corpus.sh makes its hostile files with, and the hub that serves hostile listings.
$(BUILD)/tests/corpus/make_corpus: $(wildcard tests/corpus/*.[ch]) tests/support.h $(call libs_for,formats)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) -Itests -o $@ $(filter-out %/serve.c,$(filter %.c,$^)) $(call libs_for,formats) -lcmocka $(LIBS) $(LDFLAGS)
$(BUILD)/tests/corpus/serve_listing: tests/corpus/serve.c tests/hub/server.h tests/support.h $(call libs_for,hub)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) -Itests -o $@ $< $(call libs_for,hub) -lcmocka $(LIBS) $(LDFLAGS)

# Everything that needs no GPU and no big download.
test: deps
	@$(MAKE) -j$(JOBS) BUILD=$(BUILD) tests
	@sh tests/run.sh $(BUILD) $(TESTS) $(SCRIPTS)

# One folder's tests while working on it: make test-text
test-%:
	@$(MAKE) $(filter $(BUILD)/tests/$*/%,$(TESTS)) && sh tests/run.sh $(BUILD) $(filter $(BUILD)/tests/$*/%,$(TESTS))

# + sanitizers, fuzz seconds, the other compiler, the layers, the real model end to end.
check: deps-check layers style test check-clang check-san check-fuzz check-real

check-clang: deps-check
	@if command -v clang >/dev/null 2>&1; then $(MAKE) -j$(JOBS) CC=clang BUILD=$(BUILD)-clang OPT=-O1 WERROR=1 all && \
	 echo "clang: no warnings"; else echo "skipped: clang is not here"; fi
check-san: deps
	@$(MAKE) -j$(JOBS) BUILD=$(BUILD)-san OPT="-O1 -g" SAN="-fsanitize=address,undefined -fno-sanitize-recover=all" tests
	@HTH_FIXTURE_EVERY=10 sh tests/run.sh $(BUILD)-san $(TESTS:$(BUILD)/%=$(BUILD)-san/%) tests/e2e/corpus.sh
check-fuzz: deps-check
	@sh tests/fuzz/run.sh $(BUILD) 5
check-real: $(BUILD)/hearth tests
	@sh tools/get_model.sh models
	@HTH_SMOLLM2=$(MODEL) sh tests/run.sh $(BUILD) $(wildcard tests/real/*.sh) $(filter %/test_smollm2,$(TESTS))

interop: $(BUILD)/hearth
	@sh tests/interop/run.sh $(BUILD)

bench: $(BUILD)/hearth
	@sh bench/run.sh $(BUILD)

# Ops of the cpu backend against this machine's multiply-add peak and bandwidth.
bench-kernels: $(BUILD)/bench/kernels
	@$(BUILD)/bench/kernels
$(BUILD)/bench/kernels: bench/kernels.c $(call libs_for,backend)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) -o $@ $< $(call libs_for,backend) $(LIBS) $(LDFLAGS)

demo: deps
	@$(MAKE) -j$(JOBS) BUILD=$(BUILD) all
	@sh tools/demo.sh $(BUILD)

deps:
	@sh tools/deps.sh build
deps-check:
	@sh tools/deps.sh check

layers:
	@sh tools/layers.sh "$(LAYERS)"
style:
	@sh tools/checkstyle.sh
size:
	@for l in $(LAYERS); do printf '%-10s %6d\n' $$l $$(cat src/$$l/*.[ch] src/$$l/*/*.[ch] 2>/dev/null | wc -l); done

install: $(BUILD)/hearth
	mkdir -p $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/share/bash-completion/completions $(DESTDIR)$(PREFIX)/share/zsh/site-functions
	install -m 755 $(BUILD)/hearth $(DESTDIR)$(PREFIX)/bin/hearth
	$(BUILD)/hearth completion bash > $(DESTDIR)$(PREFIX)/share/bash-completion/completions/hearth
	$(BUILD)/hearth completion zsh > $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_hearth
uninstall:
	rm -f $(DESTDIR)$(PREFIX)/bin/hearth $(DESTDIR)$(PREFIX)/share/bash-completion/completions/hearth $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_hearth

clean:
	rm -rf $(BUILD) $(BUILD)-san $(BUILD)-clang

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
.PHONY: all tests test check check-clang check-san check-fuzz check-real interop bench bench-kernels demo deps deps-check layers style size install uninstall clean
.SECONDARY:
