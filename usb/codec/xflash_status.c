/* Every status of the vendor's list. Names are the vendor tool's (two misspellings mended),
 * meanings are for an operator. Domains 5 and most of 3 are made by hosts and never sent by a
 * phone; they are here so that logs of other tools can be read. See README, "Status codes". */
#include "usb/codec/xflash.h"

#include "usb/base/mem.h"

static const struct xflash_status_info statuses[] = {
    {0x00000000, "OK", "done"},
    {0xc0010001, "ERR", "something failed, no detail given"},
    {0xc0010002, "ABORT", "operation was cancelled"},
    {0xc0010003, "UNSUPPORT_CMD", "this DA does not know the command"},
    {0xc0010004, "UNSUPPORT_CTRL_CODE",
     "this DA does not know the control code; harmless when the host was only probing"},
    {0xc0010005, "PROTOCOL_ERR",
     "packet did not start with the magic number: host and phone are out of step; the DA has "
     "stopped, re-plug the phone"},
    {0xc0010006, "PROTOCOL_BUFFER_OVERFLOW",
     "packet longer than the DA's buffer: host bug; the DA has stopped, re-plug the phone"},
    {0xc0010007, "INSUFFICIENT_BUFFER",
     "a buffer is too small (2017: also the answer to a positive host status before the first "
     "write chunk)"},
    {0xc0010008, "USB_SCAN_ERR", "host side: USB device search failed"},
    {0xc0010009, "HOST_0009", "host tool only: its connection handle is not valid"},
    {0xc001000a, "HOST_000A", "host tool only: its connection is not valid"},
    {0xc001000b, "INVALID_STAGE", "command given in the wrong stage"},
    {0xc001000c, "NOT_IMPLEMENTED", "function not built in"},
    {0xc001000d, "FILE_NOT_FOUND", "host side: file missing"},
    {0xc001000e, "OPEN_FILE_ERR", "host side: file cannot be opened"},
    {0xc001000f, "WRITE_FILE_ERR", "host side: file cannot be written"},
    {0xc0010010, "READ_FILE_ERR", "host side: file cannot be read"},
    {0xc0010011, "CREATE_FILE_ERR", "host side: file cannot be created"},
    {0xc0010012, "UNSUPPORT_VERSION", "version not supported"},
    {0xc0010013, "MEM_ALLOC_FAIL", "out of memory"},
    {0xc0020001, "SEC_ROM_INFO_NOT_FOUND",
     "no ROM information in the phone's firmware: security data missing"},
    {0xc0020002, "SEC_CUST_NAME_NOT_FOUND", "customer name missing in security data"},
    {0xc0020003, "SEC_ROM_INFO_DEVICE_NOT_SUPPORTED",
     "ROM information does not support this device"},
    {0xc0020004, "SEC_DL_FORBIDDEN", "partition is locked against download on this phone"},
    {0xc0020005, "SEC_IMG_TOO_LARGE", "image too large to be checked in memory"},
    {0xc0020006, "SEC_PL_VFY_FAIL", "preloader failed its signature check"},
    {0xc0020007, "SEC_IMG_VFY_FAIL", "image failed its signature check: wrong or unofficial image"},
    {0xc0020008, "SEC_HASH_OP_FAIL", "hash calculation failed"},
    {0xc0020009, "SEC_HASH_BINDING_CHK_FAIL",
     "image does not match the hash list the phone is bound to"},
    {0xc002000a, "SEC_INVALID_BUF", "internal buffer not valid"},
    {0xc002000b, "SEC_BINDING_HASH_NOT_AVAIL", "hash list missing"},
    {0xc002000c, "SEC_WRITE_DATA_NOT_ALLOWED",
     "raw write refused on a protected phone; use download by partition name"},
    {0xc002000d, "SEC_FORMAT_NOT_ALLOWED", "erase refused on a protected phone"},
    {0xc002000e, "SEC_SV5_PUBK_AUTH_FAIL", "public key of a v5 signature rejected"},
    {0xc002000f, "SEC_SV5_HASH_VFY_FAIL", "hash in a v5 signature rejected"},
    {0xc0020010, "SEC_SV5_RSA_OP_FAIL", "RSA operation failed (v5)"},
    {0xc0020011, "SEC_SV5_RSA_VFY_FAIL", "RSA check failed (v5)"},
    {0xc0020012, "SEC_SV5_GFH_NOT_FOUND", "image header (GFH) missing (v5)"},
    {0xc0020013, "SEC_NOT_VALID_CERT1", "first certificate not valid"},
    {0xc0020014, "SEC_NOT_VALID_CERT2", "second certificate not valid"},
    {0xc0020015, "SEC_NOT_VALID_IMGHDR", "image header not valid"},
    {0xc0020016, "SEC_SIG_SZ_NOT_VALID", "signature size not valid"},
    {0xc0020017, "SEC_PSS_OP_FAIL", "RSA-PSS operation failed"},
    {0xc0020018, "SEC_CERT_AUTH_FAIL", "certificate rejected"},
    {0xc0020019, "SEC_PUBK_AUTH_MISMATCH_N_SIZE", "public key: modulus size differs"},
    {0xc002001a, "SEC_PUBK_AUTH_MISMATCH_E_SIZE", "public key: exponent size differs"},
    {0xc002001b, "SEC_PUBK_AUTH_MISMATCH_N", "public key: modulus differs"},
    {0xc002001c, "SEC_PUBK_AUTH_MISMATCH_E", "public key: exponent differs"},
    {0xc002001d, "SEC_PUBK_AUTH_MISMATCH_HASH", "public key: hash differs"},
    {0xc002001e, "SEC_CERT_OBJ_NOT_FOUND", "certificate object missing"},
    {0xc002001f, "SEC_CERT_OID_NOT_FOUND", "certificate identifier missing"},
    {0xc0020020, "SEC_CERT_OUT_OF_RANGE", "certificate data out of range"},
    {0xc0020021, "SEC_OID_NOT_MATCH", "certificate identifier differs"},
    {0xc0020022, "SEC_LEN_NOT_MATCH", "length differs"},
    {0xc0020023, "SEC_ASN1_UNKNOWN_OP", "unknown certificate encoding operation"},
    {0xc0020024, "SEC_OID_IDX_OUT_OF_RANGE", "certificate identifier index out of range"},
    {0xc0020025, "SEC_OID_TOO_LARGE", "certificate identifier too long"},
    {0xc0020026, "SEC_PUBK_SZ_MISMATCH", "public key size differs"},
    {0xc0020027, "SEC_SWID_MISMATCH", "software id differs: firmware for another product"},
    {0xc0020028, "SEC_HASH_SZ_MISMATCH", "hash size differs"},
    {0xc0020029, "SEC_IMGHDR_TYPE_MISMATCH", "image header is of another type"},
    {0xc002002a, "SEC_IMG_TYPE_MISMATCH", "image is of another type"},
    {0xc002002b, "SEC_IMGHDR_HASH_VFY_FAIL", "hash of the image header wrong: damaged file"},
    {0xc002002c, "SEC_IMG_HASH_VFY_FAIL", "hash of the image wrong: damaged file"},
    {0xc002002d, "SEC_VIOLATE_ANTI_ROLLBACK",
     "older firmware than the phone accepts (anti-rollback)"},
    {0xc002002e, "SEC_SECCFG_NOT_FOUND", "lock-state area (seccfg) missing"},
    {0xc002002f, "SEC_SECCFG_MAGIC_INCORRECT", "lock-state area has a wrong mark"},
    {0xc0020030, "SEC_SECCFG_NOT_VALID", "lock-state area not valid"},
    {0xc0020031, "SEC_CIPHER_MODE_INVALID", "cipher mode not valid"},
    {0xc0020032, "SEC_CIPHER_KEY_INVALID", "cipher key not valid"},
    {0xc0020033, "SEC_CIPHER_DATA_UNALIGNED", "cipher data not aligned"},
    {0xc0020034, "SEC_GFH_FILE_INFO_NOT_FOUND", "image header lacks file information"},
    {0xc0020035, "SEC_GFH_ANTI_CLONE_NOT_FOUND", "image header lacks anti-clone data"},
    {0xc0020036, "SEC_GFH_SEC_CFG_NOT_FOUND", "image header lacks security settings"},
    {0xc0020037, "SEC_UNSUPPORTED_SOURCE_TYPE", "source type not supported"},
    {0xc0020038, "SEC_CUST_NAME_MISMATCH", "customer name differs: firmware of another maker"},
    {0xc0020039, "SEC_INVALID_ADDRESS", "address not valid"},
    {0xc0020040, "SEC_CERT_VER_NOT_SYNC", "certificate version out of sync"},
    {0xc0020041, "SEC_SIG_NOT_SYNC", "signature out of sync"},
    {0xc0020042, "SEC_EXT_ALL_IN_ONE_SIG_REJECT", "all-in-one signature already given"},
    {0xc0020043, "SEC_EXT_ALL_IN_ONE_SIG_NOT_EXIST", "all-in-one signature missing"},
    {0xc0020044, "SEC_COMM_KEY_IS_NOT_SET", "communication key not set"},
    {0xc0020045, "SEC_COMM_DEVINFO_CHK_FAIL", "device information check failed"},
    {0xc0020046, "SEC_BOOTIMG_COUNT_OVERFLOW", "too many boot images"},
    {0xc0020047, "SEC_SIG_NOT_FOUND", "signature missing"},
    {0xc0020048, "SEC_BOOTIMG_SPECIAL_HANDLE", "boot image needs special treatment"},
    {0xc0020049, "SEC_REMOTE_SECURITY_POLICY_DISABLED", "remote security policy is switched off"},
    {0xc002004a, "SEC_RSA_OAEP_FAIL", "RSA-OAEP operation failed"},
    {0xc002004b, "SEC_INSUFFICIENT_BUFFER", "security buffer too small"},
    {0xc002004c, "SEC_IMG_VER_NOT_SYNC",
     "image version out of sync (mtkclient words it as DA anti-rollback)"},
    {0xc002004d, "SEC_GET_OTP_VALUE_FAIL", "one-time value cannot be read"},
    {0xc002004e, "SEC_INVALID_UNIT_SZ", "unit size not valid"},
    {0xc002004f, "SEC_INVALID_GROUP_IDX", "group index not valid"},
    {0xc0020050, "SEC_IMG_VER_OVERFLOW", "image version number overflow"},
    {0xc0020051, "SEC_OTP_TABLE_NOT_INIT", "one-time table not initialised"},
    {0xc0020052, "SEC_INVALID_PART_NAME", "partition name not valid"},
    {0xc0020053, "SEC_INVALID_DA_VER", "DA version too old for this phone: take a newer DA file"},
    {0xc0020054, "INVALID_MSG_SIZE", "message size not valid"},
    {0xc0020055, "SEC_LEVEL_UNSUPPORTED", "security level not supported"},
    {0xc0020056, "SEC_LEVEL_MISMATCH", "security level differs"},
    {0xc0020057, "FAULT_INJECTION", "fault injection detected"},
    {0xc0020058, "PUBK_HASH_GROUP_INVALID", "too many root keys"},
    {0xc0020059, "SEC_LEVEL_TOO_LARGE", "security level too large"},
    {0xc002005a, "SECCFG_FORMATTED", "lock-state area is blank"},
    {0xc002005b, "SECCFG_UNKNOWN", "lock-state area error"},
    {0xc002005c, "LOCKSTATE_SECCFG_FAIL", "lock state in seccfg wrong"},
    {0xc002005d, "LOCKSTATE_CUSTOM_FAIL", "custom lock state wrong"},
    {0xc002005e, "LOCKSTATE_INCONSISTENT", "lock states contradict each other"},
    {0xc0030001, "SCATTER_FILE_INVALID", "scatter file not valid"},
    {0xc0030002, "DA_FILE_INVALID", "DA file not valid"},
    {0xc0030003, "DA_SELECTION_ERR", "no suitable entry in the DA file"},
    {0xc0030004, "PRELOADER_INVALID", "preloader file not valid"},
    {0xc0030005, "EMI_HDR_INVALID", "EMI block in the preloader file not valid"},
    {0xc0030006, "STORAGE_MISMATCH", "storage kind does not exist on this phone"},
    {0xc0030007, "INVALID_PARAMETERS", "parameters not valid"},
    {0xc0030008, "INVALID_GPT", "no readable GPT: commands by partition name refused"},
    {0xc0030009, "INVALID_PMT", "PMT damaged"},
    {0xc003000a, "LAYOUT_CHANGED",
     "partition layout differs from the firmware: full format needed"},
    {0xc003000b, "INVALID_FORMAT_PARAMETER", "format parameters not valid"},
    {0xc003000c, "UNKNOWN_STORAGE_SECTION_TYPE",
     "storage section not known (e.g. RPMB or GP area)"},
    {0xc003000d, "UNKNOWN_SCATTER_FIELD", "scatter file has an unknown field"},
    {0xc003000e, "PARTITION_TBL_NOT_EXIST", "partition table missing"},
    {0xc003000f, "SCATTER_HW_CHIP_ID_MISMATCH", "scatter file is for another chip"},
    {0xc0030010, "SEC_CERT_FILE_NOT_FOUND", "certificate file missing"},
    {0xc0030011, "SEC_AUTH_FILE_NOT_FOUND", "authentication file missing"},
    {0xc0030012, "SEC_AUTH_FILE_NEEDED", "authentication file needed"},
    {0xc0030013, "EMI_CONTAINER_FILE_NOT_FOUND", "EMI container file missing"},
    {0xc0030014, "SCATTER_FILE_NOT_FOUND", "scatter file missing"},
    {0xc0030015, "XML_FILE_OP_ERR", "XML file error"},
    {0xc0030016, "UNSUPPORTED_PAGE_SIZE", "page size not supported"},
    {0xc0030017, "EMI_INFO_LEN_OFFSET_INVALID", "EMI length offset not valid"},
    {0xc0030018, "EMI_INFO_LEN_INVALID", "EMI length not valid"},
    {0xc0030019, "UNSUPPORT_STORAGE", "storage kind not supported"},
    {0xc003001a, "RSC_MAGIC_ERR", "RSC data has a wrong mark"},
    {0xc003001b, "CERT_INVALID", "certificate not valid"},
    {0xc003001c, "STOR_LIFE_WARN", "storage near end of life"},
    {0xc003001d, "STOR_LIFE_EXHAUST", "storage worn out"},
    {0x40040001, "SPARSE_INCOMPLETE", "more sparse data expected"},
    {0x40040002, "OTP_LOCKED", "one-time zone locked"},
    {0x40040003, "OTP_UNLOCKED", "one-time zone not locked"},
    {0x40040004, "CONTINUE", "still working, percent follows"},
    {0x40040005, "COMPLETE", "long operation complete"},
    {0x40040006, "DRAM_REPAIR_COMPLETE", "DRAM repair complete"},
    {0xc0040001, "UNSUPPORT_OP", "operation not possible here (also: no battery)"},
    {0xc0040002, "THREAD", "DA could not start a worker: restart the phone"},
    {0xc0040003, "CHECKSUM_ERR", "checksum differs: bad cable or bad storage; retry"},
    {0xc0040004, "TOO_LARGE", "image larger than its partition (comes late)"},
    {0xc0040005, "UNKNOWN_SPARSE_CHUNK_TYPE", "sparse image has an unknown chunk"},
    {0xc0040006, "PARTITION_NOT_FOUND", "no partition of that name on the phone"},
    {0xc0040007, "READ_PT_FAIL",
     "partition table cannot be read (new or erased phone): raw write to USER refused, send PGPT "
     "by name first"},
    {0xc0040008, "EXCEED_MAX_PART_NUM", "too many partitions"},
    {0xc0040009, "UNKNOWN_STORAGE_TYPE", "storage kind 0 or unknown"},
    {0xc004000a, "DRAM_TEST_FAILED", "DRAM test failed: wrong EMI data or defective memory"},
    {0xc004000b, "EXCEED_AVAILABLE_RANGE", "address range outside the storage area"},
    {0xc004000c, "WRITE_SPARSE_IMAGE_FAIL", "writing a sparse image failed"},
    {0xc004000d, "REG_PERMISSION_DENIED", "register access refused"},
    {0xc004000e, "PL_NOT_FOUND", "no preloader found"},
    {0xc0040030, "MMC_ERR", "eMMC error: chip or soldering problem"},
    {0xc0040040, "NAND_ERR", "NAND error"},
    {0xc0040041, "NAND_IN_PROGRESS", "NAND busy"},
    {0xc0040042, "NAND_TIMEOUT", "NAND time-out"},
    {0xc0040043, "NAND_BAD_BLOCK", "NAND bad block"},
    {0xc0040044, "NAND_ERASE_FAILED", "NAND erase failed"},
    {0xc0040045, "NAND_PAGE_PROGRAM_FAILED", "NAND program failed"},
    {0xc0040046, "NAND_FTL_OFFSET_JUMP_NEXT", "NAND translation layer skipped ahead"},
    {0xc0040050, "EMI_SETTING_VERSION_ERROR", "EMI data do not fit this DA: wrong preloader file"},
    {0xc0040060, "UFS_ERR", "UFS error"},
    {0xc0040100, "DA_OTP_NOT_SUPPORT", "one-time area not supported"},
    {0xc0040102, "DA_OTP_LOCK_FAIL", "locking the one-time area failed"},
    {0xc0040200, "EFUSE_UNKNOWN_ERR", "fuse error without detail"},
    {0xc0040201, "EFUSE_WRITE_TIMEOUT_WITHOUT_VERIFY", "fuse write timed out, not verified"},
    {0xc0040202, "EFUSE_BLOWN_DONE", "fuses blown"},
    {0xc0040203, "EFUSE_REVERT_BIT", "fuse bit cannot go back"},
    {0xc0040204, "EFUSE_BLOWN_PARTLY", "fuses only partly blown"},
    {0xc0040205, "EFUSE_INVALID_ARGUMENT", "fuse argument not valid"},
    {0xc0040206, "EFUSE_VALUE_IS_NOT_ZERO", "fuse not blank"},
    {0xc0040207, "EFUSE_BLOWN_INCORRECT_DATA", "fuse has wrong data"},
    {0xc0040208, "EFUSE_BROKEN", "fuse broken"},
    {0xc0040209, "EFUSE_BLOW_ERR", "fuse blowing failed"},
    {0xc004020a, "EFUSE_DATA_PROCESS_ERR", "fuse data processing failed"},
    {0xc004020b, "EFUSE_UNLOCK_BPKEY_ERR", "fuse unlock key rejected"},
    {0xc004020c, "EFUSE_CREATE_LIST_ERR", "fuse list cannot be made"},
    {0xc004020d, "EFUSE_WRITE_REGISTER_ERR", "fuse register write failed"},
    {0xc004020e, "EFUSE_PADDING_TYPE_MISMATCH", "fuse padding kind differs"},
    {0xc004020f, "EFUSE_CON_LOCKED", "fuse control locked"},
    {0xc0040210, "EFUSE_RSA_ERROR", "fuse RSA error"},
    {0xc0050001, "DEVICE_CTRL_EXCEPTION", "host side: device control step failed"},
    {0xc0050002, "SHUTDOWN_CMD_EXCEPTION", "host side: shutdown step failed"},
    {0xc0050003, "DOWNLOAD_EXCEPTION", "host side: download step failed"},
    {0xc0050004, "UPLOAD_EXCEPTION", "host side: upload step failed"},
    {0xc0050005, "EXT_RAM_EXCEPTION", "host side: DRAM set-up step failed"},
    {0xc0050006, "NOTIFY_SWITCH_USB_SPEED_EXCEPTION", "host side: USB speed notice failed"},
    {0xc0050007, "READ_DATA_EXCEPTION", "host side: read step failed"},
    {0xc0050008, "WRITE_DATA_EXCEPTION", "host side: write step failed"},
    {0xc0050009, "FORMAT_EXCEPTION", "host side: format step failed"},
    {0xc005000a, "OTP_OPERATION_EXCEPTION", "host side: one-time area step failed"},
    {0xc005000b, "SWITCH_USB_EXCEPTION", "host side: USB switch failed"},
    {0xc005000c, "WRITE_EFUSE_EXCEPTION", "host side: fuse write step failed"},
    {0xc005000d, "READ_EFUSE_EXCEPTION", "host side: fuse read step failed"},
    {0xc0060001, "BROM_CMD_STARTCMD_FAIL", "start sequence failed: phone did not answer"},
    {0xc0060002, "BROM_GET_BBCHIP_HW_VER_FAIL", "chip version cannot be read"},
    {0xc0060003, "BROM_CMD_SEND_DA_FAIL", "DA1 could not be sent"},
    {0xc0060004, "BROM_CMD_JUMP_DA_FAIL", "DA1 could not be started"},
    {0xc0060005, "BROM_CMD_FAIL", "a BROM command failed"},
    {0xc0060006, "CALLBACK_BROM_STAGE_FAIL", "host side: BROM-stage callback failed"},
    {0x40060001, "BROM_CONNECT_NOT_PL", "connected to BROM, not to the preloader"},
    {0xc0070001, "DA_VERSION_INCORRECT", "DA file version not right"},
    {0xc0070002, "DA_NOT_FOUND", "no DA for this chip"},
    {0xc0070003, "DA_SECTION_NOT_FOUND", "DA section missing"},
    {0xc0070004, "DA_HASH_MISMATCH", "DA2 does not belong to DA1 (digest differs)"},
    {0xc0070005, "DA_EXCEED_MAX_NUM", "too many DAs"},
    {0xc0080001, "PL_CMD_FAIL", "a preloader command failed"},
};

const struct xflash_status_info *xflash_status_find(uint32_t status)
{
    for (size_t i = 0; i < ARRAY_LEN(statuses); i++)
        if (statuses[i].code == status)
            return &statuses[i];
    return NULL;
}

/* Bits 23..16: what security checks say. */
#define DOMAIN_SECURITY 2

/* An error that no case of status_class() names. A security check says no before anything is done. All others, words without
 * detail and those that are in no list, leave open how far the agent came with the flash. */
static int error_class(uint32_t status)
{
    return (status >> 16 & 0xff) == DOMAIN_SECURITY ? ERR_REFUSED : ERR_STORAGE;
}

/* What the code tells the caller to do next. */
static int status_class(uint32_t status)
{
    switch (status) {
    case XFLASH_PROTOCOL_ERR:
    case XFLASH_PROTOCOL_BUFFER_OVERFLOW:
        return ERR_DEAD;
    case XFLASH_ABORT:
        return ERR_CANCELLED;
    case XFLASH_UNSUPPORT_CMD:
    case XFLASH_UNSUPPORT_CTRL_CODE:
    case XFLASH_UNSUPPORT_OP:
    case XFLASH_INVALID_STAGE:
    case XFLASH_NOT_IMPLEMENTED:
        return ERR_UNSUPPORTED;
    /* Checks of arguments: nothing was done. */
    case XFLASH_INSUFFICIENT_BUFFER:
    case XFLASH_STORAGE_MISMATCH: /* that there is an eMMC was told before */
    case XFLASH_INVALID_PARAMETERS:
    case XFLASH_INVALID_GPT:
    case XFLASH_INVALID_FORMAT_PARAMETER:
    case XFLASH_UNKNOWN_STORAGE_SECTION_TYPE:
    case XFLASH_READ_PT_FAIL:
    case XFLASH_UNKNOWN_STORAGE_TYPE:
    case XFLASH_EXCEED_AVAILABLE_RANGE:
    case XFLASH_REG_PERMISSION_DENIED:
        return ERR_INPUT;
    case XFLASH_SEC_AUTH_FILE_NOT_FOUND:
    case XFLASH_SEC_AUTH_FILE_NEEDED:
        return ERR_AUTH_NEEDED;
    case XFLASH_CHECKSUM_ERR:
        return ERR_VERIFY;
    case XFLASH_TOO_LARGE:
        return ERR_LIMIT;
    case XFLASH_PARTITION_NOT_FOUND:
        return ERR_NOT_FOUND;
    case XFLASH_ERR:
    case XFLASH_MEM_ALLOC_FAIL:
    case XFLASH_THREAD:
    case XFLASH_WRITE_SPARSE_IMAGE_FAIL:
    case XFLASH_MMC_ERR:
    case XFLASH_UFS_ERR:
        return ERR_STORAGE;
    case XFLASH_EMI_SETTING_VERSION_ERROR:
    case XFLASH_DA_HASH_MISMATCH:
        return ERR_MISMATCH;
    default:
        /* a word that begins otherwise was never a status: the stream is out of step */
        return status >> 28 == 0xc ? error_class(status) : ERR_PROTOCOL;
    }
}

int xflash_status_err(uint32_t status, const char *what, struct err *err)
{
    const struct xflash_status_info *info = xflash_status_find(status);
    return err_set(err, status_class(status), "%s: status %08x %s: %s", what, status,
                   info ? info->name : "UNKNOWN", info ? info->meaning : "not in the status table");
}
