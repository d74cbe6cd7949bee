/* switch_aarch64.S - wf_switch for the AAPCS64; context.h has the contract.
 *
 * A suspended stack, from its stack pointer up: x19-x28, x29 x30, d8-d15; 160 bytes. It is resumed with `br`, not
 * `ret`: the return predictor would be wrong every time. fpcr is not saved. Not marked for BTI: the `br` lands behind a
 * call, where no landing pad is. */
#if defined(__ELF__) && defined(__LP64__) && defined(__aarch64__) && \
    !(defined(WF_SWITCH_UCONTEXT) && WF_SWITCH_UCONTEXT)

    .text

/* void *wf_switch(void **save_sp: x0, void *load_sp: x1, void *value: x2), which returns the other side's value */
    .p2align 5
    .globl wf_switch
    .hidden wf_switch
    .globl wf_switch_code
    .hidden wf_switch_code
    .type wf_switch, %function
    .type wf_switch_code, %function
wf_switch_code:
wf_switch:
    .cfi_startproc
    sub sp, sp, #160
    .cfi_adjust_cfa_offset 160
    stp x19, x20, [sp, #0]
    stp x21, x22, [sp, #16]
    stp x23, x24, [sp, #32]
    stp x25, x26, [sp, #48]
    stp x27, x28, [sp, #64]
    stp x29, x30, [sp, #80]
    stp d8, d9, [sp, #96]
    stp d10, d11, [sp, #112]
    stp d12, d13, [sp, #128]
    stp d14, d15, [sp, #144]
    .cfi_rel_offset x19, 0
    .cfi_rel_offset x20, 8
    .cfi_rel_offset x21, 16
    .cfi_rel_offset x22, 24
    .cfi_rel_offset x23, 32
    .cfi_rel_offset x24, 40
    .cfi_rel_offset x25, 48
    .cfi_rel_offset x26, 56
    .cfi_rel_offset x27, 64
    .cfi_rel_offset x28, 72
    .cfi_rel_offset x29, 80
    .cfi_rel_offset x30, 88
    mov x9, sp
    str x9, [x0]
    mov sp, x1
    ldp x19, x20, [sp, #0]
    ldp x21, x22, [sp, #16]
    ldp x23, x24, [sp, #32]
    ldp x25, x26, [sp, #48]
    ldp x27, x28, [sp, #64]
    ldp x29, x30, [sp, #80]
    ldp d8, d9, [sp, #96]
    ldp d10, d11, [sp, #112]
    ldp d12, d13, [sp, #128]
    ldp d14, d15, [sp, #144]
    add sp, sp, #160
    .cfi_adjust_cfa_offset -160
    .cfi_restore x19
    .cfi_restore x20
    .cfi_restore x21
    .cfi_restore x22
    .cfi_restore x23
    .cfi_restore x24
    .cfi_restore x25
    .cfi_restore x26
    .cfi_restore x27
    .cfi_restore x28
    .cfi_restore x29
    .cfi_restore x30
    mov x0, x2
    br x30
    .cfi_endproc
    .size wf_switch, . - wf_switch

/* void *wf_switch_prepare(void *stack_top: x0, void (*entry)(void *): x1, void *arg: x2) */
    .p2align 4
    .globl wf_switch_prepare
    .hidden wf_switch_prepare
    .type wf_switch_prepare, %function
wf_switch_prepare:
    .cfi_startproc
    and x0, x0, #-16
    sub x0, x0, #160
    stp x1, x2, [x0, #0]        /* x19: entry, x20: arg */
    stp xzr, xzr, [x0, #16]
    stp xzr, xzr, [x0, #32]
    stp xzr, xzr, [x0, #48]
    stp xzr, xzr, [x0, #64]
    adr x9, wf_switch_entry
    stp xzr, x9, [x0, #80]      /* x29: frame-pointer unwinders stop at 0; x30 */
    stp xzr, xzr, [x0, #96]
    stp xzr, xzr, [x0, #112]
    stp xzr, xzr, [x0, #128]
    stp xzr, xzr, [x0, #144]
    ret
    .cfi_endproc
    .size wf_switch_prepare, . - wf_switch_prepare

/* The outermost frame of a stack: its return address is undefined, so unwinders end here. The nop is for them too: they
 * look up the instruction before a return address, which is wf_switch_entry itself before the first switch. */
    .p2align 4
    .type wf_switch_entry, %function
    .cfi_startproc
    .cfi_undefined x30
    nop
wf_switch_entry:
    mov x0, x20
    blr x19
    brk #1
    .cfi_endproc
    .size wf_switch_entry, . - wf_switch_entry

#endif
#if defined(__ELF__)
    .section .note.GNU-stack, "", %progbits
#endif
